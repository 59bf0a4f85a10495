import {
  alignUp,
  type BundleIndex,
  type CacheDtype,
  type ModelDemand,
  type PredictorPart,
} from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES, pinnedTensors } from "./blocks.js";
import { keyValueBytes } from "./key-value-rows.js";
import { rowStagingBytes } from "./row-table.js";
import { hasOutputNorms } from "./run-state.js";
import { speculationBytes } from "./speculative/distributions.js";

/** Chunks of records that may be in flight or in use at once; three keep a device busy while one is computed on. */
export const FLIGHT_COUNT = 4;
/** Chunks of guessed reads under way: those of a layer land while the next one's begin. */
const GUESS_FLIGHT_COUNT = 2;

type LookAheadKind = Pick<PredictorPart, "lookAhead" | "lookAheadIsExact">;

/** Flights for what is guessed; what a layer's predecessor names for certain takes the others. */
export function guessFlightCount({ lookAhead, lookAheadIsExact }: LookAheadKind): number {
  return lookAhead && !lookAheadIsExact ? GUESS_FLIGHT_COUNT : 0;
}

/** All flights of an engine with that predictor. */
export function flightCountOf(predictor: LookAheadKind): number {
  return FLIGHT_COUNT + guessFlightCount(predictor);
}

/** Fixed words, lists and small tables; counted with slack for alignment. */
const MISCELLANEOUS_BYTES = 256 * 1024;

/** What the plan is made for. */
export interface PlanRequest {
  readonly bundle: BundleIndex;
  readonly predictor: PredictorPart;
  /** Bytes for weights, caches and scratch; Infinity keeps everything resident. */
  readonly memoryBytes: number;
  /** Asked for; null lets the plan choose, but not below `contextNeeded`. */
  readonly contextLength: number | null;
  readonly contextNeeded: number;
  readonly promptChunkTokens: number;
  readonly kernelOverheadBytes: number;
  /** Share of the slots whose neurons stay for good; null chooses (see `pinnedCounts`). */
  readonly pinnedShare?: number | null;
  /** What the predictor was measured to ask of the layers; null or absent where it was not. */
  readonly demand?: ModelDemand | null;
  /** Drafted tokens that are verified in one pass; 0 or absent without a draft model. */
  readonly draftTokens?: number;
  /** Asked for; null is f32 for bundles of f32, otherwise f16. */
  readonly cacheDtype: CacheDtype | null;
}

/** What a plan has chosen before it divides anything. */
export interface PlanChoices {
  readonly contextLength: number;
  readonly tokenCapacity: number;
  readonly logitRowCount: number;
  readonly cacheDtype: CacheDtype;
  /** 0 where the head stays in memory. */
  readonly headTileRowCount: number;
}

/** Bytes of an owner. */
export interface PlanRow {
  readonly owner: string;
  readonly plannedBytes: number;
}

/** In whole pages. */
export const padded = (lengthBytes: number): number => alignUp(lengthBytes, BLOCK_ALIGNMENT_BYTES);
/** Their total. */
export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function scratchBytes(
  request: PlanRequest,
  { contextLength, headTileRowCount, logitRowCount, tokenCapacity }: PlanChoices,
): number {
  const { model } = request.bundle.manifest;
  const { attention, embedding, ffn, rope } = model;
  const width = embedding?.width ?? 0;
  const perToken =
    4 *
      ((hasOutputNorms(model) ? 4 : 3) * model.hiddenSize +
        width +
        1 +
        2 * attention.headCount * attention.headDim +
        2 * attention.keyValueHeadCount * attention.headDim) +
    5 * ffn.neuronCount;
  const logits = 4 * logitRowCount * (model.vocabularySize + headTileRowCount + model.hiddenSize + width);
  const ropeTable = 4 * contextLength * rope.rotaryDim * (rope.window ? 2 : 1);
  const lists = flightCountOf(request.predictor) * ffn.neuronCount * 96;
  return tokenCapacity * perToken + logits + ropeTable + lists + MISCELLANEOUS_BYTES;
}

/** What a plan with these choices needs whatever it streams. */
export function fixedSizes(request: PlanRequest, choices: PlanChoices): PlanRow[] {
  const { bundle, predictor } = request;
  const { manifest } = bundle;
  const { tokenCapacity } = choices;
  const isHeadResident = choices.headTileRowCount === 0;
  return [
    {
      owner: "embeddings and head",
      plannedBytes:
        sum(pinnedTensors(bundle, isHeadResident).map((tensor) => padded(tensor.lengthBytes))) +
        stagedRowBytes(bundle, isHeadResident, tokenCapacity),
    },
    {
      owner: "kv cache",
      plannedBytes: padded(keyValueBytes(bundle, choices)) + manifest.layers.length * BLOCK_ALIGNMENT_BYTES,
    },
    {
      owner: "scratch",
      plannedBytes: scratchBytes(request, choices),
    },
    {
      owner: "speculation",
      plannedBytes: speculationBytes(manifest.model.vocabularySize, request.draftTokens ?? 0),
    },
    { owner: "predictor scratch", plannedBytes: padded(predictor.scratchBytes(manifest, tokenCapacity)) },
    { owner: "kernels", plannedBytes: request.kernelOverheadBytes },
    {
      owner: "checksums and order",
      plannedBytes: sum(manifest.layers.map((layer) => layer.neuronCount * 9)),
    },
  ];
}

/** Memory that rows of tables on flash are read into. */
function stagedRowBytes(bundle: BundleIndex, isHeadResident: boolean, tokenCapacity: number): number {
  const isEmbeddingResident = isHeadResident && bundle.manifest.model.tiedEmbeddings;
  const names = [
    ...(isEmbeddingResident ? [] : ["embedding.weight"]),
    ...(isHeadResident ? [] : ["position.weight"]),
  ];
  return sum(
    names
      .filter((name) => bundle.hasTensor(name))
      .map((name) => rowStagingBytes(bundle.tensor(name), tokenCapacity)),
  );
}

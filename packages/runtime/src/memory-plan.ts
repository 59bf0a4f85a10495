import {
  alignUp,
  type BundleIndex,
  type BundleManifest,
  type CacheDtype,
  FlashlmError,
  type ModelConfig,
  type PredictorPart,
  rowBytes,
} from "@flashlm/contracts";
import { type BlockExtent, layerBlock, pinnedTensors, predictorBlock } from "./blocks.js";
import { createMemoryBudget } from "./memory-budget.js";
import { pinnedCounts } from "./pinned-counts.js";
import { hasOutputNorms } from "./run-state.js";
import { speculationBytes } from "./speculative/distributions.js";

/** Page and direct-I/O alignment of everything large. */
export const BLOCK_ALIGNMENT_BYTES = 4096;
/** Chunks of records that may be in flight or in use at once; three keep a device busy while one is computed on. */
export const FLIGHT_COUNT = 4;
/** Streamed blocks of attention or predictor weights that have a buffer: one in use, the others in flight. */
const BLOCK_BUFFER_COUNT = 3;
/** The least: a layer's attention and its predictor are in use together where the FFN has biases. */
const BLOCK_BUFFER_COUNT_MIN = 2;
/** A flight's staging is between these, and about this share of the budget. */
const FLIGHT_SHARE = 0.01;
const FLIGHT_BYTES_MIN = 64 * 1024;
const FLIGHT_BYTES_MAX = 4 * 1024 * 1024;
/** Share of the budget that the KV cache takes when no context length was asked for. */
const CONTEXT_SHARE = 0.1;
/** Default context is not longer than this, however much memory there is. */
const CONTEXT_DEFAULT_MAX = 4096;
/** Shortest default context; a shorter one has to be asked for. */
const CONTEXT_DEFAULT_MIN = 128;
/** Most rows of logits at once, and the share of the budget they may take where there is more than one. */
const LOGIT_ROWS_MAX = 8;
const LOGIT_ROWS_SHARE = 0.01;
/** Prompt tokens at once where memory is shortest. */
const LEAN_CHUNK_TOKENS = 8;
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
  /** Drafted tokens that are verified in one pass; 0 or absent without a draft model. */
  readonly draftTokens?: number;
  /** Asked for; null is f32 for bundles of f32, otherwise f16. */
  readonly cacheDtype: CacheDtype | null;
}

/** Where every byte goes. All numbers are bytes unless they end in Count, Tokens or Length. */
export interface MemoryPlan {
  readonly contextLength: number;
  readonly tokenCapacity: number;
  readonly logitRowCount: number;
  /** What keys and values are kept in. */
  readonly cacheDtype: CacheDtype;
  readonly embeddingResident: boolean;
  /** Per layer: weights stay in memory (true) or are streamed for every token. */
  readonly layerBlockResident: readonly boolean[];
  readonly predictorBlockResident: readonly boolean[];
  readonly blockBufferBytes: number;
  readonly blockBufferCount: number;
  readonly flightBytes: number;
  readonly slotCountByLayer: readonly number[];
  /** Slots of each layer that belong for good to its first neurons. */
  readonly pinnedCountByLayer: readonly number[];
  readonly rows: readonly { readonly owner: string; readonly plannedBytes: number }[];
  readonly totalBytes: number;
}

interface Sizes {
  readonly fixed: { owner: string; plannedBytes: number }[];
  readonly layerBlocks: readonly BlockExtent[];
  readonly predictorBlocks: readonly BlockExtent[];
}

const padded = (lengthBytes: number): number => alignUp(lengthBytes, BLOCK_ALIGNMENT_BYTES);
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Bytes of keys and values per token of context, all layers. */
export function keyValueBytesPerToken(bundle: BundleIndex, cacheDtype: CacheDtype): number {
  const { attention, layerCount } = bundle.manifest.model;
  return 2 * layerCount * rowBytes(cacheDtype, attention.keyValueHeadCount * attention.headDim);
}

function chooseCacheDtype(request: PlanRequest): CacheDtype {
  const { dtype, model } = request.bundle.manifest;
  if (request.cacheDtype === "q8_0" && model.attention.headDim % 32 !== 0) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected heads of whole blocks of 32 for keys and values in q8_0 but they have ${model.attention.headDim} dimensions. Ask for f16.`,
      { headDim: model.attention.headDim },
    );
  }
  return request.cacheDtype ?? (dtype === "f32" ? "f32" : "f16");
}

function chooseLogitRows(request: PlanRequest, tokenCapacity: number, lean: boolean): number {
  if (lean) return 1;
  const rowBytesNeeded = 4 * request.bundle.manifest.model.vocabularySize;
  const affordable = Math.floor((request.memoryBytes * LOGIT_ROWS_SHARE) / rowBytesNeeded);
  // Every row of a verified draft is wanted, and each batch of rows reads the head's weights once.
  const verified = 1 + (request.draftTokens ?? 0);
  return Math.max(verified, Math.min(LOGIT_ROWS_MAX, tokenCapacity, affordable));
}

function chooseContext(request: PlanRequest, cacheDtype: CacheDtype, lean: boolean): number {
  const { model } = request.bundle.manifest;
  if (request.contextLength !== null) return request.contextLength;
  const affordable = lean
    ? 0
    : Number.isFinite(request.memoryBytes)
      ? Math.floor(
          (request.memoryBytes * CONTEXT_SHARE) / keyValueBytesPerToken(request.bundle, cacheDtype) / 64,
        ) * 64
      : CONTEXT_DEFAULT_MAX;
  const wanted = Math.max(
    CONTEXT_DEFAULT_MIN,
    Math.min(affordable, CONTEXT_DEFAULT_MAX),
    request.contextNeeded,
  );
  return Math.min(wanted, Math.max(model.contextLengthMax, 1));
}

function scratchBytes(
  request: PlanRequest,
  contextLength: number,
  tokenCapacity: number,
  logitRowCount: number,
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
  const logits = 4 * logitRowCount * (model.vocabularySize + model.hiddenSize + width);
  const ropeTable = 4 * contextLength * rope.rotaryDim * (rope.window ? 2 : 1);
  const lists = (FLIGHT_COUNT + (request.predictor.lookAhead ? 1 : 0)) * ffn.neuronCount * 96;
  return tokenCapacity * perToken + logits + ropeTable + lists + MISCELLANEOUS_BYTES;
}

function measure(
  request: PlanRequest,
  contextLength: number,
  tokenCapacity: number,
  logitRowCount: number,
  cacheDtype: CacheDtype,
): Sizes {
  const { bundle, predictor } = request;
  const { manifest } = bundle;
  const embeddingRow = bundle.tensor("embedding.weight").lengthBytes / manifest.model.vocabularySize;
  const layers = manifest.layers.map((_, layerIndex) => layerIndex);
  const fixed = [
    {
      owner: "embeddings and head",
      plannedBytes:
        sum(pinnedTensors(bundle).map((tensor) => padded(tensor.lengthBytes))) +
        (manifest.model.tiedEmbeddings ? 0 : padded(embeddingRow * tokenCapacity)),
    },
    {
      owner: "kv cache",
      plannedBytes:
        padded(contextLength * keyValueBytesPerToken(bundle, cacheDtype)) +
        manifest.layers.length * BLOCK_ALIGNMENT_BYTES,
    },
    { owner: "scratch", plannedBytes: scratchBytes(request, contextLength, tokenCapacity, logitRowCount) },
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
  return {
    fixed,
    layerBlocks: layers.map((layerIndex) => layerBlock(bundle, layerIndex)),
    predictorBlocks: layers.flatMap((layerIndex) => predictorBlock(bundle, predictor, layerIndex) ?? []),
  };
}

/** Marks as resident, front first, the blocks that fit. Returns the flags and the bytes taken. */
function pinBlocks(
  blocks: readonly BlockExtent[],
  freeBytes: number,
): { flags: boolean[]; takenBytes: number } {
  let takenBytes = 0;
  const flags = blocks.map((block) => {
    const wanted = padded(block.lengthBytes);
    if (takenBytes + wanted > freeBytes) return false;
    takenBytes += wanted;
    return true;
  });
  return { flags, takenBytes };
}

function chooseFlightBytes(request: PlanRequest, lean: boolean): number {
  const { record, layers } = request.bundle.manifest;
  const layerBytes =
    Math.max(...layers.map((layer) => layer.neuronCount)) * record.strideBytes + 4 * BLOCK_ALIGNMENT_BYTES;
  const least = record.strideBytes + 4 * BLOCK_ALIGNMENT_BYTES;
  if (lean) return padded(Math.max(least, Math.min(FLIGHT_BYTES_MIN, layerBytes)));
  const share = Number.isFinite(request.memoryBytes) ? request.memoryBytes * FLIGHT_SHARE : FLIGHT_BYTES_MAX;
  return padded(Math.max(least, Math.min(Math.max(share, FLIGHT_BYTES_MIN), FLIGHT_BYTES_MAX, layerBytes)));
}

function checkContext(contextLength: number, { embedding }: ModelConfig): void {
  const most = embedding?.positionCount ?? Number.POSITIVE_INFINITY;
  if (Number.isInteger(contextLength) && contextLength >= 1 && contextLength <= most) return;
  throw new FlashlmError(
    "ENGINE_OPTION",
    `Expected a context of at least 1 token${most === Number.POSITIVE_INFINITY ? "" : ` and at most the ${most} positions that the model has learned`} but received ${contextLength}.`,
    { contextLength },
  );
}

function tooSmall(budgetBytes: number, missingBytes: number, contextLength: number): FlashlmError {
  return new FlashlmError(
    "BUDGET_TOO_SMALL",
    `Expected at least ${Math.ceil(budgetBytes + missingBytes)} bytes for one layer at a time, embeddings, a context of ${contextLength} tokens and scratch, ` +
      `but the budget is ${Math.floor(budgetBytes)}: ${Math.ceil(missingBytes)} bytes are missing. Give more --memory or a shorter --context.`,
    { budgetBytes, missingBytes, contextLength },
  );
}

/**
 * Divides a budget: what cannot be streamed first, then attention and predictor weights in layer order, then slots
 * for neuron records, the same number in every layer. Where comfort (a longer default context, larger read buffers, more
 * rows of logits, long chunks of the prompt) would leave too little, it is done without.
 *
 * @throws BUDGET_TOO_SMALL when not even one layer at a time fits, with the missing bytes; ENGINE_OPTION for a bad context.
 */
export function planMemory(request: PlanRequest): MemoryPlan {
  try {
    return divide(request, false);
  } catch (error) {
    if (!FlashlmError.isInstance(error) || error.code !== "BUDGET_TOO_SMALL") throw error;
    return divide(request, true);
  }
}

/** Tokens that go through the layers together: of a prompt, or drafted ones with the one before them. */
function chooseCapacity(request: PlanRequest, contextLength: number, lean: boolean): number {
  const { draftTokens = 0, promptChunkTokens } = request;
  const chunkTokens = lean ? Math.min(promptChunkTokens, LEAN_CHUNK_TOKENS) : promptChunkTokens;
  return Math.max(1 + draftTokens, Math.min(chunkTokens, contextLength));
}

/** The same number of slots for every layer, as far as it has neurons. */
function shareSlots({ layers, record }: BundleManifest, freeBytes: number): number[] {
  const slotBytes = Math.max(0, freeBytes - layers.length * BLOCK_ALIGNMENT_BYTES);
  const slotsPerLayer = Math.floor(slotBytes / layers.length / record.strideBytes);
  return layers.map((layer) => Math.min(layer.neuronCount, slotsPerLayer));
}

function divide(request: PlanRequest, lean: boolean): MemoryPlan {
  const { manifest } = request.bundle;
  const cacheDtype = chooseCacheDtype(request);
  const contextLength = chooseContext(request, cacheDtype, lean);
  checkContext(contextLength, manifest.model);
  const tokenCapacity = chooseCapacity(request, contextLength, lean);
  const logitRowCount = chooseLogitRows(request, tokenCapacity, lean);
  const sizes = measure(request, contextLength, tokenCapacity, logitRowCount, cacheDtype);
  const blocks = [...sizes.layerBlocks, ...sizes.predictorBlocks];
  const allBlockBytes = sum(blocks.map((block) => padded(block.lengthBytes)));
  const fixedBytes = sum(sizes.fixed.map((row) => row.plannedBytes));
  const allSlotBytes = sum(
    manifest.layers.map((layer) => padded(layer.neuronCount * manifest.record.strideBytes)),
  );
  const flightBytes = chooseFlightBytes(request, lean);
  const flightTotal = flightBytes * (FLIGHT_COUNT + (request.predictor.lookAhead ? 1 : 0));
  const blockBufferBytes = Math.max(0, ...blocks.map((block) => padded(block.lengthBytes)));

  const budgetBytes = Number.isFinite(request.memoryBytes)
    ? request.memoryBytes
    : fixedBytes + allBlockBytes + flightTotal + allSlotBytes;
  let freeBytes = budgetBytes - fixedBytes - flightTotal;
  const streamsBlocks = freeBytes < allBlockBytes;
  const blockBufferCount = streamsBlocks ? (lean ? BLOCK_BUFFER_COUNT_MIN : BLOCK_BUFFER_COUNT) : 0;
  const bufferTotal = blockBufferBytes * blockBufferCount;
  freeBytes -= bufferTotal;
  if (freeBytes < 0) throw tooSmall(budgetBytes, -freeBytes, contextLength);
  const pinnedLayers = pinBlocks(sizes.layerBlocks, freeBytes);
  const pinnedPredictors = pinBlocks(sizes.predictorBlocks, freeBytes - pinnedLayers.takenBytes);
  freeBytes -= pinnedLayers.takenBytes + pinnedPredictors.takenBytes;

  const slotCountByLayer = shareSlots(manifest, freeBytes >= allSlotBytes ? Infinity : freeBytes);
  const rows = [
    ...sizes.fixed,
    { owner: "attention and norms", plannedBytes: pinnedLayers.takenBytes },
    { owner: "predictor", plannedBytes: pinnedPredictors.takenBytes },
    { owner: "block buffers", plannedBytes: bufferTotal },
    { owner: "read buffers", plannedBytes: flightTotal },
    {
      owner: "neuron slots",
      plannedBytes: sum(slotCountByLayer.map((count) => padded(count * manifest.record.strideBytes))),
    },
  ].filter((row) => row.plannedBytes > 0);
  const budget = createMemoryBudget(budgetBytes);
  for (const row of rows) budget.reserve(row.owner, row.plannedBytes);
  return {
    contextLength,
    tokenCapacity,
    logitRowCount,
    cacheDtype,
    embeddingResident: manifest.model.tiedEmbeddings,
    layerBlockResident: pinnedLayers.flags,
    predictorBlockResident: pinnedPredictors.flags,
    blockBufferBytes,
    blockBufferCount,
    flightBytes,
    slotCountByLayer,
    pinnedCountByLayer: pinnedCounts(
      manifest,
      request.predictor,
      slotCountByLayer,
      request.pinnedShare ?? null,
    ),
    rows,
    totalBytes: budgetBytes - budget.freeBytes(),
  };
}

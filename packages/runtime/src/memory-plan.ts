import { type CacheDtype, FlashlmError, type ModelConfig } from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES, type BlockExtent, layerBlock, predictorBlock } from "./blocks.js";
import { layerDemand } from "./cost-model/layer-demand.js";
import { headTensor, leastTileBytes, tileRowCount } from "./head-tiles.js";
import { keyValueBytes } from "./key-value-rows.js";
import { createMemoryBudget } from "./memory-budget.js";
import { pinnedCounts } from "./pinned-counts.js";
import {
  fixedSizes,
  flightCountOf,
  type PlanChoices,
  type PlanRequest,
  type PlanRow,
  padded,
  sum,
} from "./plan-sizes.js";
import { shareSlots, windowOfSlots } from "./share-slots.js";

/**
 * Streamed blocks of attention or predictor weights that have a buffer: one in use, the others in flight. At least two: a layer's attention
 * and its predictor are in use together where the FFN has biases.
 */
export const BLOCK_BUFFER_COUNT: Readonly<Record<Comfort, number>> = { full: 3, lean: 2, least: 2 };
/** A flight's staging is between these, and about this share of the budget. */
const FLIGHT_SHARE = 0.01;
const FLIGHT_BYTES_MIN = 64 * 1024;
const FLIGHT_BYTES_MAX = 4 * 1024 * 1024;
/** Share of the budget that the KV cache takes when no context length was asked for. */
const CONTEXT_SHARE = 0.1;
/** Default context is not longer than this, however much memory there is. */
const CONTEXT_DEFAULT_MAX = 4096;
/** Default contexts are multiples of it, but for the shortest. */
const CONTEXT_STEP = 64;
/** Shortest default context; a shorter one has to be asked for. */
const CONTEXT_DEFAULT_MIN = 128;
/** Most rows of logits at once, and the share of the budget they may take where there is more than one. */
const LOGIT_ROWS_MAX = 8;
const LOGIT_ROWS_SHARE = 0.01;
/** Prompt tokens at once where memory is shortest. */
const LEAN_CHUNK_TOKENS = 8;

/** Where every byte goes. All numbers are bytes unless they end in Count, Tokens or Length. */
export interface MemoryPlan extends PlanChoices {
  readonly embeddingResident: boolean;
  /** Whether the head, and learned positions, stay in memory. */
  readonly headResident: boolean;
  /** Per layer: weights stay in memory (true) or are streamed for every token. */
  readonly layerBlockResident: readonly boolean[];
  readonly predictorBlockResident: readonly boolean[];
  readonly blockBufferBytes: number;
  readonly blockBufferCount: number;
  readonly flightBytes: number;
  readonly slotCountByLayer: readonly number[];
  /** Longest window whose neurons fit the slots of every layer, by measured demand; 0 where not even one token's do, null where none was measured or every token names all. */
  readonly windowTokens: number | null;
  /** Slots of each layer that belong for good to its first neurons. */
  readonly pinnedCountByLayer: readonly number[];
  readonly rows: readonly PlanRow[];
  readonly totalBytes: number;
}

/** How much comfort a plan allows: all, none, or not even the head in memory. */
type Comfort = "full" | "lean" | "least";

interface Streamable {
  readonly layers: readonly BlockExtent[];
  readonly predictors: readonly BlockExtent[];
  readonly totalBytes: number;
  /** What the largest of them needs, or the smallest tile of a streamed head. */
  readonly bufferBytes: number;
  /** Rows of the head at a time where it is streamed; 0 where it stays in memory. */
  readonly headTileRowCount: number;
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

function chooseLogitRows(request: PlanRequest, tokenCapacity: number, comfort: Comfort): number {
  // Every row of a verified draft is wanted, and each batch of rows reads the head's weights once.
  const verified = 1 + (request.draftTokens ?? 0);
  if (comfort === "lean") return 1;
  if (comfort === "least") return verified;
  const rowBytesNeeded = 4 * request.bundle.manifest.model.vocabularySize;
  const affordable = Math.floor((request.memoryBytes * LOGIT_ROWS_SHARE) / rowBytesNeeded);
  return Math.max(verified, Math.min(LOGIT_ROWS_MAX, tokenCapacity, affordable));
}

/** The longest default context whose keys and values stay within their share of the budget; 0 where none does. */
function affordableContext(request: PlanRequest, cacheDtype: CacheDtype): number {
  const mostBytes = request.memoryBytes * CONTEXT_SHARE;
  let contextLength = CONTEXT_DEFAULT_MAX;
  for (; contextLength > 0; contextLength -= CONTEXT_STEP) {
    const tokenCapacity = chooseCapacity(request, contextLength, "full");
    if (keyValueBytes(request.bundle, { cacheDtype, contextLength, tokenCapacity }) <= mostBytes) break;
  }
  return contextLength;
}

function chooseContext(request: PlanRequest, cacheDtype: CacheDtype, comfort: Comfort): number {
  const { model } = request.bundle.manifest;
  if (request.contextLength !== null) return request.contextLength;
  const affordable = comfort === "full" ? affordableContext(request, cacheDtype) : 0;
  const wanted = Math.max(CONTEXT_DEFAULT_MIN, affordable, request.contextNeeded);
  return Math.min(wanted, Math.max(model.contextLengthMax, 1));
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

function chooseFlightBytes(request: PlanRequest, comfort: Comfort): number {
  const { record, layers } = request.bundle.manifest;
  const layerBytes =
    Math.max(...layers.map((layer) => layer.neuronCount)) * record.strideBytes + 4 * BLOCK_ALIGNMENT_BYTES;
  const least = record.strideBytes + 4 * BLOCK_ALIGNMENT_BYTES;
  if (comfort !== "full") return padded(Math.max(least, Math.min(FLIGHT_BYTES_MIN, layerBytes)));
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
    `Expected at least ${Math.ceil(budgetBytes + missingBytes)} bytes for one layer at a time, a context of ${contextLength} tokens and scratch, ` +
      `but the budget is ${Math.floor(budgetBytes)}: ${Math.ceil(missingBytes)} bytes are missing. Give more --memory or a shorter --context.`,
    { budgetBytes, missingBytes, contextLength },
  );
}

/**
 * Divides a budget: what cannot be streamed first, then attention and predictor weights in layer order, then slots
 * for neuron records, by what each layer's tokens name where that is known (`shareSlots`). Where comfort (a longer default context, larger read buffers, more
 * rows of logits, long chunks of the prompt) would leave too little, it is done without; where that is not enough, the
 * embeddings and the head are streamed too.
 *
 * @throws BUDGET_TOO_SMALL when not even one layer at a time fits, with the missing bytes; ENGINE_OPTION for a bad context.
 */
export function planMemory(request: PlanRequest): MemoryPlan {
  for (const comfort of ["full", "lean"] as const) {
    try {
      return divide(request, comfort);
    } catch (error) {
      if (!FlashlmError.isInstance(error) || error.code !== "BUDGET_TOO_SMALL") throw error;
    }
  }
  return divide(request, "least");
}

/** Tokens that go through the layers together: of a prompt, or drafted ones with the one before them. */
function chooseCapacity(request: PlanRequest, contextLength: number, comfort: Comfort): number {
  const { draftTokens = 0, promptChunkTokens } = request;
  const chunkTokens = comfort === "full" ? promptChunkTokens : Math.min(promptChunkTokens, LEAN_CHUNK_TOKENS);
  return Math.max(1 + draftTokens, Math.min(chunkTokens, contextLength));
}

/** Slots by layer; Infinity has room for all. */
function divideSlots(
  request: PlanRequest,
  freeBytes: number,
): Pick<MemoryPlan, "slotCountByLayer" | "windowTokens"> {
  const { bundle, demand = null, predictor } = request;
  const { layers, record } = bundle.manifest;
  const slotBytes = Math.max(0, freeBytes - layers.length * BLOCK_ALIGNMENT_BYTES);
  const known = predictor.dense
    ? []
    : layers.flatMap((_, layerIndex) => layerDemand(bundle, predictor, demand, layerIndex) ?? []);
  const demands = known.length === layers.length ? known : null;
  const totalCount = Math.floor(slotBytes / record.strideBytes);
  const slotCountByLayer = shareSlots(layers, demands, totalCount, predictor.lookAhead === true);
  const windowTokens = demands && demand ? windowOfSlots(demands, slotCountByLayer) : null;
  return { slotCountByLayer, windowTokens };
}

/** Attention and predictor weights by layer, and what it takes to stream them. */
function streamable({ bundle, predictor }: PlanRequest, comfort: Comfort): Streamable {
  const layers = bundle.manifest.layers.map((_, layerIndex) => layerBlock(bundle, layerIndex));
  const predictors = layers.flatMap((_, layerIndex) => predictorBlock(bundle, predictor, layerIndex) ?? []);
  const sizes = [...layers, ...predictors].map((block) => padded(block.lengthBytes));
  const head = headTensor(bundle);
  const tileBytes = comfort === "least" ? leastTileBytes(head, BLOCK_ALIGNMENT_BYTES) : 0;
  const bufferBytes = Math.max(tileBytes, ...sizes);
  return {
    layers,
    predictors,
    totalBytes: sum(sizes),
    bufferBytes,
    headTileRowCount: comfort === "least" ? tileRowCount(head, bufferBytes, BLOCK_ALIGNMENT_BYTES) : 0,
  };
}

function choose(request: PlanRequest, comfort: Comfort, headTileRowCount: number): PlanChoices {
  const cacheDtype = chooseCacheDtype(request);
  const contextLength = chooseContext(request, cacheDtype, comfort);
  checkContext(contextLength, request.bundle.manifest.model);
  const tokenCapacity = chooseCapacity(request, contextLength, comfort);
  const logitRowCount = chooseLogitRows(request, tokenCapacity, comfort);
  return { cacheDtype, contextLength, tokenCapacity, logitRowCount, headTileRowCount };
}

function divide(request: PlanRequest, comfort: Comfort): MemoryPlan {
  const { manifest } = request.bundle;
  const blocks = streamable(request, comfort);
  const choices = choose(request, comfort, blocks.headTileRowCount);
  const fixed = fixedSizes(request, choices);
  const fixedBytes = sum(fixed.map((row) => row.plannedBytes));
  const allSlotBytes = sum(
    manifest.layers.map((layer) => padded(layer.neuronCount * manifest.record.strideBytes)),
  );
  const flightBytes = chooseFlightBytes(request, comfort);
  const flightTotal = flightBytes * flightCountOf(request.predictor);

  const budgetBytes = Number.isFinite(request.memoryBytes)
    ? request.memoryBytes
    : fixedBytes + blocks.totalBytes + flightTotal + allSlotBytes;
  let freeBytes = budgetBytes - fixedBytes - flightTotal;
  const streams = freeBytes < blocks.totalBytes || comfort === "least";
  const blockBufferCount = streams ? BLOCK_BUFFER_COUNT[comfort] : 0;
  const bufferTotal = blocks.bufferBytes * blockBufferCount;
  freeBytes -= bufferTotal;
  if (freeBytes < 0) throw tooSmall(budgetBytes, -freeBytes, choices.contextLength);
  const pinnedLayers = pinBlocks(blocks.layers, freeBytes);
  const pinnedPredictors = pinBlocks(blocks.predictors, freeBytes - pinnedLayers.takenBytes);
  freeBytes -= pinnedLayers.takenBytes + pinnedPredictors.takenBytes;

  const slots = divideSlots(request, freeBytes >= allSlotBytes ? Infinity : freeBytes);
  const { slotCountByLayer } = slots;
  const rows = [
    ...fixed,
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
    ...choices,
    embeddingResident: manifest.model.tiedEmbeddings && comfort !== "least",
    headResident: comfort !== "least",
    layerBlockResident: pinnedLayers.flags,
    predictorBlockResident: pinnedPredictors.flags,
    blockBufferBytes: blocks.bufferBytes,
    blockBufferCount,
    flightBytes,
    ...slots,
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

import type { LayerDemand } from "@flashlm/contracts";
import { type EngineSpeed, missCost, mixedMissCost } from "./engine-speed.js";
import type { ForecastRequest } from "./forecast.js";
import { type Reads, stagedChunks } from "./read-costs.js";

/**
 * Figures of a processor of 2024 for where nothing was rehearsed (`flashlm plan` does): steps between two layers' programs, leasing and listing a
 * named record, reading one more.
 */
const STEP_MS = 0.02;
/** Thresholding one score, on the engine's thread. */
const SELECT_MS = 3e-6;
const NAME_MS = 2e-5;
const MISS_MS = 4e-4;

/** What the engine adds to a layer's kernels. Milliseconds, and a factor. */
export interface EngineAdds {
  readonly stepMs: number;
  readonly ffnMs: number;
  /** How many times longer the records take than those that lie together. */
  readonly scatter: number;
  readonly cacheMs: number;
}

/** Records of a layer that are read late and early. */
interface LayerReads {
  readonly lateCount: number;
  readonly late: Reads;
  /** Those of the late ones that find slots; early ones all do. */
  readonly slottedCount: number;
  readonly earlyCount: number;
  readonly isGuessed: boolean;
}

/** Pure. */
export function addedByEngine(request: ForecastRequest, demand: LayerDemand, reads: LayerReads): EngineAdds {
  const { kernel, predictor } = request;
  const flightCount = flightsOf(request, reads.lateCount);
  if (!kernel.engine) return usual(request, demand, reads, flightCount);
  return predictor.dense
    ? denseAdds(kernel.engine, demand, reads.lateCount, flightCount)
    : sparseAdds(request, kernel.engine, demand, reads);
}

/** Chunks that a layer's records come in. */
function flightsOf({ bundle, plan }: ForecastRequest, lateCount: number): number {
  return Math.max(1, Math.ceil((lateCount * bundle.manifest.record.strideBytes) / plan.flightBytes));
}

function usual(
  { kernel, predictor }: ForecastRequest,
  { namedPerToken, neuronCount }: LayerDemand,
  { lateCount, earlyCount, isGuessed }: LayerReads,
  flightCount: number,
): EngineAdds {
  // Streamed neighbours are one request, and a chunk has few of them.
  const readCount = predictor.dense ? 0 : lateCount + earlyCount;
  const selectMs = predictor.dense ? 0 : SELECT_MS * neuronCount;
  return {
    stepMs: STEP_MS + selectMs,
    ffnMs: flightCount * kernel.flightMs,
    scatter: 1,
    cacheMs: (isGuessed ? 2 : 1) * namedPerToken * NAME_MS + readCount * MISS_MS,
  };
}

/** Between a layer that is all here and one that is all read, in proportion to what is read: serving reads takes the processor's time. */
function denseAdds(
  { dense, sparse }: EngineSpeed,
  { namedPerToken }: LayerDemand,
  lateCount: number,
  flightCount: number,
): EngineAdds {
  const resident = dense.resident ?? {
    stepMs: sparse.stepMs,
    cacheMs: sparse.cacheLayerMs + namedPerToken * sparse.cacheNamedMs,
  };
  const readShare = Math.min(1, lateCount / Math.max(1, namedPerToken));
  const between = (residentMs: number, streamedMs: number): number =>
    residentMs + readShare * (streamedMs - residentMs);
  const streamedCacheMs = flightCount * dense.cacheFlightMs + namedPerToken * dense.cacheNamedMs;
  return {
    stepMs: between(resident.stepMs, dense.stepMs),
    ffnMs: flightCount * dense.flightMs,
    scatter: 1,
    cacheMs: between(resident.cacheMs, streamedCacheMs),
  };
}

/** A guess is leased as what is named is, and its reads are planned like others. */
function sparseAdds(
  request: ForecastRequest,
  { sparse, dense }: EngineSpeed,
  { namedPerToken }: LayerDemand,
  reads: LayerReads,
): EngineAdds {
  const { lateCount, slottedCount, earlyCount, isGuessed } = reads;
  const late = mixedMissCost(sparse, lateCount, slottedCount);
  const early = missCost(sparse.misses, earlyCount);
  const askMs = sparse.cacheLayerMs + namedPerToken * sparse.cacheNamedMs;
  const moreChunks = lateCount > 0 ? chunksBeyondRehearsed(request, dense, reads) : 0;
  return {
    stepMs: sparse.stepMs,
    ffnMs: late.computeMs + moreChunks * dense.flightMs,
    scatter: sparse.scatter,
    cacheMs: (isGuessed ? 2 : 1) * askMs + late.cacheMs + early.cacheMs + moreChunks * dense.cacheFlightMs,
  };
}

/** Sparse scenes are played with the most staging that plans make. */
function chunksBeyondRehearsed(
  { bundle, plan, reader: { alignmentBytes } }: ForecastRequest,
  { streams }: EngineSpeed["dense"],
  { late, lateCount, slottedCount }: LayerReads,
): number {
  const chunks = (flightBytes: number): number => stagedChunks(late, alignmentBytes, flightBytes);
  const moreCount = Math.max(0, chunks(plan.flightBytes) - chunks(streams.at(-1)!.flightBytes));
  // Whole blocks are read straight into their slots.
  const isDirect = bundle.manifest.record.strideBytes % alignmentBytes === 0;
  return isDirect ? moreCount * (1 - slottedCount / lateCount) : moreCount;
}

import { isExactlySparse, type LayerDemand } from "@flashlm/contracts";
import { layerBlock, layerTensor, predictorBlock } from "../blocks.js";
import { FLIGHT_COUNT } from "../plan-sizes.js";
import { READ_BYTES_MAX } from "../read-into.js";
import { batchMs, worthwhileGapBytes } from "./device-costs.js";
import { expectedHitShare } from "./expected-hits.js";
import type { ForecastRequest } from "./forecast.js";
import { LOOK_AHEAD_USUAL } from "./look-ahead-costs.js";
import { missReads, type Reads, streamReads } from "./read-costs.js";

/** Thresholding one score, on the engine's thread. */
const SELECT_MS = 3e-6;
/** Leasing, ordering and addressing one named record; reading one more record. Measured with `flashlm run --json` on the embedded model (`cacheMsPerToken`). */
const NAME_MS = 2e-5;
const MISS_MS = 4e-4;
/** Steps of the engine between two layers' programs. */
const STEP_MS = 0.02;

/** One layer's share of a token. Times in milliseconds. */
export interface LayerCost {
  readonly namedCount: number;
  /** Found in slots, whatever is read early. */
  readonly hitCount: number;
  /** The device's time for what is read once the layer's neurons are known, streamed blocks included. */
  readonly lateIoMs: number;
  /** The device's time for what is read a layer early, on a guess. */
  readonly earlyIoMs: number;
  readonly readBytes: number;
  /** From the layer's input until its neurons are known. */
  readonly beforeMs: number;
  /** Scoring the next layer's look-ahead head; 0 without one. */
  readonly guessMs: number;
  /** Activations of what need not be waited for, a part of {@link ffnMs}. */
  readonly hitMs: number;
  readonly ffnMs: number;
  readonly cacheMs: number;
}

/** What a layer costs a token. Pure. */
export function layerCost(request: ForecastRequest, layerIndex: number, demand: LayerDemand): LayerCost {
  const { plan, predictor, kernel, positionCount } = request;
  const slotCount = plan.slotCountByLayer[layerIndex] ?? 0;
  const pinnedCount = plan.pinnedCountByLayer[layerIndex] ?? 0;
  const namedCount = demand.namedPerToken;
  const hitCount = namedCount * expectedHitShare(demand, slotCount, pinnedCount);
  const missCount = namedCount - hitCount;
  const early = earlyRecords(request, layerIndex, missCount);
  const reads = readsOf(request, missCount - early.usedCount, demand);
  const earlyReads = readsOf(request, early.usedCount + early.wastedCount, demand);
  const blocks = blockBytes(request, layerIndex);
  const ffnMs = feedForwardMs(request, layerIndex, demand, missCount - early.usedCount);
  const depthMax = predictor.dense ? streamDepth(request) : request.reader.inFlightMax;
  const ioMs = ({ requestCount, requestBytes }: Reads): number =>
    batchMs(request.device, requestCount, requestBytes, depthMax);
  const scoreMs = (bytes: number, neuronCount: number): number =>
    (1000 * bytes) / kernel.scoreBytesPerSecond + SELECT_MS * neuronCount;
  const guessed = request.bundle.manifest.layers[layerIndex + 1];
  const hasGuess = predictor.lookAhead === true && guessed !== undefined;
  return {
    namedCount,
    hitCount,
    lateIoMs: ioMs(reads) + ioMs(streamReads(blocks.readBytes)),
    earlyIoMs: ioMs(earlyReads),
    readBytes:
      reads.requestCount * reads.requestBytes +
      earlyReads.requestCount * earlyReads.requestBytes +
      blocks.readBytes,
    beforeMs:
      kernel.layerMs +
      positionCount * kernel.positionMs +
      (predictor.dense ? 0 : scoreMs(blocks.scoredBytes, demand.neuronCount)) +
      STEP_MS,
    guessMs: hasGuess ? scoreMs(blocks.guessBytes, guessed.neuronCount) : 0,
    hitMs: (hitCount + early.usedCount) * kernel.activationMs,
    ffnMs,
    // A guess is leased as what is named is, and reads in vain are planned like others.
    cacheMs: (early.isGuessed ? 2 : 1) * namedCount * NAME_MS + (missCount + early.wastedCount) * MISS_MS,
  };
}

/** Of a layer's misses those that a guess reads early, and what it reads in vain. The first layer has no layer before it that could guess. */
function earlyRecords(
  { plan, predictor, lookAheadShares }: ForecastRequest,
  layerIndex: number,
  missCount: number,
): { isGuessed: boolean; usedCount: number; wastedCount: number } {
  const isGuessed =
    predictor.lookAhead === true && layerIndex > 0 && (plan.slotCountByLayer[layerIndex] ?? 0) > 0;
  if (!isGuessed) return { isGuessed, usedCount: 0, wastedCount: 0 };
  const { guessedShare, usedShare } = lookAheadShares ?? LOOK_AHEAD_USUAL;
  const usedCount = missCount * guessedShare;
  return { isGuessed, usedCount, wastedCount: usedCount * (1 / usedShare - 1) };
}

function feedForwardMs(
  { bundle, kernel, plan }: ForecastRequest,
  layerIndex: number,
  demand: LayerDemand,
  lateCount: number,
): number {
  const { model, record, calibration } = bundle.manifest;
  const flightCount = Math.max(1, Math.ceil((lateCount * record.strideBytes) / plan.flightBytes));
  const share = isExactlySparse(model.ffn) ? (calibration?.activeShareByLayer[layerIndex] ?? 1) : 1;
  const activeCount = Math.min(demand.namedPerToken, share * demand.neuronCount);
  return (
    flightCount * kernel.flightMs + demand.namedPerToken * kernel.activationMs + activeCount * kernel.downMs
  );
}

function readsOf(request: ForecastRequest, missCount: number, demand: LayerDemand): Reads {
  const { strideBytes } = request.bundle.manifest.record;
  return request.predictor.dense
    ? streamReads(missCount * strideBytes)
    : sparseReads(request, missCount, demand);
}

/** Bytes of a layer's attention and predictor that are read for every token, those that its predictor computes with, and those of the look-ahead head. */
function blockBytes(
  { bundle, plan, predictor }: ForecastRequest,
  layerIndex: number,
): { readBytes: number; scoredBytes: number; guessBytes: number } {
  const block = predictorBlock(bundle, predictor, layerIndex);
  const attentionBytes = plan.layerBlockResident[layerIndex] ? 0 : layerBlock(bundle, layerIndex).lengthBytes;
  const predictorBytes = block && !plan.predictorBlockResident[layerIndex] ? block.lengthBytes : 0;
  const guessBytes = predictor.lookAhead
    ? predictor
        .tensorNames(bundle.manifest)
        .filter((name) => name.startsWith("lookahead."))
        .reduce((total, name) => total + (layerTensor(bundle, layerIndex, name)?.lengthBytes ?? 0), 0)
    : 0;
  return {
    readBytes: attentionBytes + predictorBytes,
    scoredBytes: Math.max(0, (block?.lengthBytes ?? 0) - guessBytes),
    guessBytes,
  };
}

function sparseReads(request: ForecastRequest, missCount: number, demand: LayerDemand): Reads {
  const { strideBytes } = request.bundle.manifest.record;
  const { alignmentBytes, inFlightMax } = request.reader;
  const gapBytes = worthwhileGapBytes(
    request.device,
    strideBytes,
    Math.min(inFlightMax, Math.max(1, missCount)),
  );
  return missReads(missCount, demand.neuronCount, strideBytes, alignmentBytes, gapBytes);
}

/** Reads in flight while records are streamed: as many as the flights' staging holds. */
function streamDepth({ plan, reader }: ForecastRequest): number {
  const staged = Math.floor((FLIGHT_COUNT * plan.flightBytes) / READ_BYTES_MAX);
  return Math.max(1, Math.min(reader.inFlightMax, staged));
}

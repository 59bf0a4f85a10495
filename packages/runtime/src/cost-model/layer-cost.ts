import { isExactlySparse, type LayerDemand } from "@flashlm/contracts";
import { layerBlock, layerTensor, predictorBlock } from "../blocks.js";
import { findFamily } from "../families/registry.js";
import { FLIGHT_COUNT } from "../plan-sizes.js";
import { blockMs, serveMs } from "./block-costs.js";
import { batchMs, worthwhileGapBytes } from "./device-costs.js";
import { addedByEngine } from "./engine-costs.js";
import { mixedMissCost, streamBytesPerSecond } from "./engine-speed.js";
import { expectedHitShare } from "./expected-hits.js";
import type { ForecastRequest } from "./forecast.js";
import { LOOK_AHEAD_EXACT, LOOK_AHEAD_USUAL } from "./look-ahead-costs.js";
import { missReads, type Reads, streamReads } from "./read-costs.js";

/** One layer's share of a token. Times in milliseconds. */
export interface LayerCost {
  readonly namedCount: number;
  /** Found in slots, whatever is read early. */
  readonly hitCount: number;
  /** From asking for what is read once the layer's neurons are known until it has landed, on a device with nothing else to do first. */
  readonly lateIoMs: number;
  /** The same of what is read a layer early, on a guess. */
  readonly earlyIoMs: number;
  /** The device's time for the layer's streamed blocks, which are read ahead; 0 for resident ones. */
  readonly attentionIoMs: number;
  readonly predictorIoMs: number;
  /** Whether the attention's block is in use until the layer's end. */
  readonly isAttentionKept: boolean;
  readonly readBytes: number;
  /** From the layer's input until its attention is done. */
  readonly attendMs: number;
  /** From there until its neurons are known. */
  readonly scoreMs: number;
  /** Scoring the next layer's look-ahead head; 0 without one. */
  readonly guessMs: number;
  /** Activations of what need not be waited for, a part of {@link ffnMs}. */
  readonly hitMs: number;
  readonly ffnMs: number;
  readonly cacheMs: number;
}

/**
 * What a layer costs a token. Pure.
 *
 * @param missFactor - how many times the mean of misses the token has.
 */
export function layerCost(
  request: ForecastRequest,
  layerIndex: number,
  demand: LayerDemand,
  missFactor = 1,
): LayerCost {
  const { plan, predictor, kernel, positionCount } = request;
  const slotCount = plan.slotCountByLayer[layerIndex] ?? 0;
  const pinnedCount = plan.pinnedCountByLayer[layerIndex] ?? 0;
  const hitCount = demand.namedPerToken * expectedHitShare(demand, slotCount, pinnedCount);
  const missCount = Math.min(demand.neuronCount, missFactor * (demand.namedPerToken - hitCount));
  const own = { ...demand, namedPerToken: hitCount + missCount };
  const early = earlyRecords(request, layerIndex, missCount);
  const lateCount = missCount - early.usedCount;
  const earlyCount = early.usedCount + early.wastedCount;
  const reads = readsOf(request, lateCount, own);
  const earlyReads = readsOf(request, earlyCount, own);
  const blocks = blockBytes(request, layerIndex);
  // Hits keep theirs, and so do records that were read early.
  const slottedCount = Math.min(lateCount, Math.max(0, slotCount - hitCount - earlyCount));
  const added = addedByEngine(request, own, {
    lateCount,
    late: reads,
    slottedCount,
    earlyCount,
    isGuessed: early.isGuessed,
  });
  const scoreMs = (bytes: number): number => (1000 * bytes) / kernel.scoreBytesPerSecond;
  const hasGuess =
    predictor.lookAhead === true && request.bundle.manifest.layers[layerIndex + 1] !== undefined;
  const streamedBytes = blocks.attentionBytes + blocks.predictorBytes;
  return {
    namedCount: own.namedPerToken,
    hitCount,
    lateIoMs: recordIoMs(request, reads, { count: lateCount, slottedCount }, streamedBytes > 0),
    earlyIoMs: recordIoMs(
      request,
      earlyReads,
      { count: earlyCount, slottedCount: earlyCount },
      streamedBytes > 0,
    ),
    attentionIoMs: blockMs(request, blocks.attentionBytes),
    predictorIoMs: blockMs(request, blocks.predictorBytes),
    isAttentionKept: isAttentionKept(request),
    readBytes:
      reads.requestCount * reads.requestBytes +
      earlyReads.requestCount * earlyReads.requestBytes +
      streamedBytes,
    attendMs: kernel.layerMs + positionCount * kernel.positionMs,
    scoreMs:
      (predictor.dense ? 0 : scoreMs(blocks.scoredBytes)) + added.stepMs + serveMs(request, streamedBytes),
    // A guess is scored, selected and listed as what is named is.
    guessMs: hasGuess ? scoreMs(blocks.guessBytes) + added.stepMs : 0,
    hitMs: hitCount * kernel.activationMs * added.scatter,
    ffnMs: added.ffnMs + feedForwardMs(request, layerIndex, own) * added.scatter,
    cacheMs: added.cacheMs,
  };
}

/** As `ForwardPass` has it: FFN biases, and what joins the FFN's result to the residual stream, are in the same block. */
function isAttentionKept({ bundle }: ForecastRequest): boolean {
  const { model } = bundle.manifest;
  return model.ffn.bias || findFamily(model.family).afterFfn !== undefined;
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
  const { guessedShare, usedShare } = predictor.lookAheadIsExact
    ? LOOK_AHEAD_EXACT
    : (lookAheadShares ?? LOOK_AHEAD_USUAL);
  const usedCount = missCount * guessedShare;
  return { isGuessed, usedCount, wastedCount: usedCount * (1 / usedShare - 1) };
}

/** Activations and down projection of what a token names, on records that lie together. */
function feedForwardMs({ bundle, kernel }: ForecastRequest, layerIndex: number, demand: LayerDemand): number {
  const { model, calibration } = bundle.manifest;
  const share = isExactlySparse(model.ffn) ? (calibration?.activeShareByLayer[layerIndex] ?? 1) : 1;
  const activeCount = Math.min(demand.namedPerToken, share * demand.neuronCount);
  return demand.namedPerToken * kernel.activationMs + activeCount * kernel.downMs;
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
): { attentionBytes: number; predictorBytes: number; scoredBytes: number; guessBytes: number } {
  const block = predictorBlock(bundle, predictor, layerIndex);
  const guessBytes = predictor.lookAhead
    ? predictor
        .tensorNames(bundle.manifest, layerIndex)
        .filter((name) => name.startsWith("lookahead."))
        .reduce((total, name) => total + (layerTensor(bundle, layerIndex, name)?.lengthBytes ?? 0), 0)
    : 0;
  return {
    attentionBytes: plan.layerBlockResident[layerIndex] ? 0 : layerBlock(bundle, layerIndex).lengthBytes,
    predictorBytes: block && !plan.predictorBlockResident[layerIndex] ? block.lengthBytes : 0,
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

function batchOf({ device, kernel, plan, predictor, reader }: ForecastRequest, reads: Reads): number {
  const { requestCount, requestBytes } = reads;
  if (!predictor.dense) return batchMs(device, requestCount, requestBytes, reader.inFlightMax);
  // A flight is computed on while the others are read, each in requests of its own.
  const lengthBytes = Math.min(requestBytes, plan.flightBytes);
  const depthMax = Math.floor(((FLIGHT_COUNT - 1) * plan.flightBytes) / Math.max(1, lengthBytes));
  const count = (requestCount * requestBytes) / Math.max(1, lengthBytes);
  const profiledMs = batchMs(device, count, lengthBytes, Math.max(1, Math.min(reader.inFlightMax, depthMax)));
  if (!kernel.engine) return profiledMs;
  // The rehearsal reads the model's own file, as fast as streaming goes there or as fast as a layer is computed; so it may only be too slow.
  const rehearsed = streamBytesPerSecond(kernel.engine.dense.streams, plan.flightBytes);
  return Math.min(profiledMs, (1000 * requestCount * requestBytes) / rehearsed);
}

/** As rehearsed, where that was possible: it knows what becomes of a plan's requests, beside streamed blocks and without. */
function recordIoMs(
  request: ForecastRequest,
  reads: Reads,
  { count, slottedCount }: { readonly count: number; readonly slottedCount: number },
  isStreamed: boolean,
): number {
  const { engine } = request.kernel;
  if (request.predictor.dense || !engine || count <= 0) return batchOf(request, reads);
  const { streamedMs, waitMs } = mixedMissCost(engine.sparse, count, slottedCount);
  return isStreamed ? streamedMs : waitMs;
}

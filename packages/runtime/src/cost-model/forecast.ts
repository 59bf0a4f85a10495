import type { BundleIndex, LayerDemand, ModelDemand, PredictorPart } from "@flashlm/contracts";
import { isExactlySparse } from "@flashlm/contracts";
import { layerBlock, predictorBlock } from "../blocks.js";
import { headTensor } from "../head-tiles.js";
import type { MemoryPlan } from "../memory-plan.js";
import { FLIGHT_COUNT } from "../plan-sizes.js";
import { READ_BYTES_MAX } from "../read-into.js";
import { batchMs, type DeviceSpeed, worthwhileGapBytes } from "./device-costs.js";
import { expectedHitShare, uniformDemand, windowThatFits } from "./expected-hits.js";
import type { KernelSpeed } from "./kernel-speed.js";

/** Thresholding one score, on the engine's thread. */
const SELECT_MS = 3e-6;
/** Leasing, ordering and addressing one named record; reading one more record. Measured with `flashlm run --json` on the embedded model (`cacheMsPerToken`). */
const NAME_MS = 2e-5;
const MISS_MS = 4e-4;
/** Steps of the engine between two layers' programs. */
const STEP_MS = 0.02;

/** What a forecast is made from. */
export interface ForecastRequest {
  readonly bundle: BundleIndex;
  readonly plan: MemoryPlan;
  readonly predictor: PredictorPart;
  /** Measured demand of this predictor, or null: then neurons count as equally likely. */
  readonly demand: ModelDemand | null;
  readonly device: DeviceSpeed;
  readonly kernel: KernelSpeed;
  readonly reader: { readonly inFlightMax: number; readonly alignmentBytes: number };
  /** Positions that a token attends to on average. */
  readonly positionCount: number;
  /** Whether a layer's reads begin a layer early, by a head that guesses its neurons. */
  readonly lookAhead: boolean;
}

/** What one token is expected to cost in a steady state. Times in milliseconds; `tokenMs` is the sum of the three below it. */
export interface TokenForecast {
  readonly tokenMs: number;
  /** Waiting for reads that nothing hides. */
  readonly ioWaitMs: number;
  readonly cacheMs: number;
  readonly computeMs: number;
  /** The device's own time for a token's reads, hidden or not. */
  readonly ioMs: number;
  readonly readBytes: number;
  readonly namedShare: number;
  readonly hitShare: number;
  /** Tokens whose neurons all fit the slots, in the layer where the fewest do; null for dense runs, which need no window. */
  readonly windowTokens: number | null;
  /** What was assumed for want of a measurement. */
  readonly assumptions: readonly string[];
}

/** One layer's share of a token. */
interface LayerCost {
  readonly namedCount: number;
  readonly hitCount: number;
  readonly ioMs: number;
  readonly readBytes: number;
  readonly hitMs: number;
  readonly computeMs: number;
  readonly cacheMs: number;
}

/** Forecasts one token of decoding. Pure. */
export function forecastToken(request: ForecastRequest): TokenForecast {
  const { bundle, kernel, predictor, plan } = request;
  const demands = bundle.manifest.layers.map((_, layerIndex) => layerDemand(request, layerIndex));
  const layers = demands.map((demand, layerIndex) => layerCost(request, layerIndex, demand));
  const sum = (pick: (layer: LayerCost) => number): number =>
    layers.reduce((total, layer) => total + pick(layer), 0);
  const computeMs = sum((layer) => layer.computeMs) + kernel.headMs;
  const cacheMs = sum((layer) => layer.cacheMs);
  const headBytes = plan.headResident ? 0 : headTensor(bundle).lengthBytes;
  const headReads = streamReads(headBytes);
  const headIoMs = batchMs(
    request.device,
    headReads.requestCount,
    headReads.requestBytes,
    request.reader.inFlightMax,
  );
  const ioMs = sum((layer) => layer.ioMs) + headIoMs;
  const ioWaitMs = predictor.dense
    ? Math.max(0, ioMs - computeMs - cacheMs)
    : sum((layer) => Math.max(0, layer.ioMs - (request.lookAhead ? layer.computeMs : layer.hitMs))) +
      Math.max(0, headIoMs - kernel.headMs);
  const namedCount = sum((layer) => layer.namedCount);
  return {
    tokenMs: ioWaitMs + cacheMs + computeMs,
    ioWaitMs,
    cacheMs,
    computeMs,
    ioMs,
    readBytes: sum((layer) => layer.readBytes) + headBytes,
    namedShare: namedCount / demands.reduce((total, demand) => total + demand.neuronCount, 0),
    hitShare: namedCount > 0 ? sum((layer) => layer.hitCount) / namedCount : 1,
    windowTokens: predictor.dense
      ? null
      : Math.min(
          ...demands.map((demand, layer) => windowThatFits(demand, plan.slotCountByLayer[layer] ?? 0)),
        ),
    assumptions: assumptionsOf(request),
  };
}

function layerDemand(request: ForecastRequest, layerIndex: number): LayerDemand {
  const { bundle, demand, predictor } = request;
  const { neuronCount } = bundle.manifest.layers[layerIndex]!;
  const measured = demand?.layers[layerIndex];
  if (measured && measured.neuronCount === neuronCount) return measured;
  if (predictor.dense) return uniformDemand(neuronCount, 1);
  return uniformDemand(neuronCount, predictor.expectedShare?.(bundle.manifest, layerIndex) ?? 1);
}

function assumptionsOf({ bundle, demand, predictor }: ForecastRequest): string[] {
  if (predictor.dense || demand) return [];
  const known = bundle.manifest.layers.every(
    (_, layerIndex) => (predictor.expectedShare?.(bundle.manifest, layerIndex) ?? null) !== null,
  );
  return [
    known
      ? "neurons are equally likely and tokens independent (no demand was measured: flashlm eval does)"
      : "every neuron is named (nothing is known of this predictor: flashlm eval measures it)",
  ];
}

/** Requests and bytes that so many misses, spread over a layer, are read with: neighbours closer than a gap are one request. */
export function missReads(
  missCount: number,
  neuronCount: number,
  strideBytes: number,
  alignmentBytes: number,
  gapBytesMax: number,
): { requestCount: number; requestBytes: number } {
  if (missCount <= 0) return { requestCount: 0, requestBytes: 0 };
  const density = Math.min(1, missCount / neuronCount);
  const gapMax = Math.floor(gapBytesMax / strideBytes);
  // Gaps between random picks are geometric: P(gap of j) = density * (1 - density)^j.
  const apart = (1 - density) ** (gapMax + 1);
  let gapRecords = 0;
  for (let gap = 1, chance = density * (1 - density); gap <= gapMax; gap++, chance *= 1 - density)
    gapRecords += gap * chance;
  const requestCount = Math.max(1, missCount * apart);
  const payloadBytes = missCount * (1 + gapRecords) * strideBytes;
  const roundingBytes = strideBytes % alignmentBytes === 0 ? 0 : alignmentBytes;
  return cutReads(requestCount, payloadBytes / requestCount + roundingBytes);
}

function cutReads(
  requestCount: number,
  requestBytes: number,
): { requestCount: number; requestBytes: number } {
  const pieceCount = Math.max(1, Math.ceil(requestBytes / READ_BYTES_MAX));
  return { requestCount: requestCount * pieceCount, requestBytes: requestBytes / pieceCount };
}

function layerCost(request: ForecastRequest, layerIndex: number, demand: LayerDemand): LayerCost {
  const { bundle, plan, predictor, kernel, positionCount } = request;
  const { model, record } = bundle.manifest;
  const slotCount = plan.slotCountByLayer[layerIndex] ?? 0;
  const pinnedCount = plan.pinnedCountByLayer[layerIndex] ?? 0;
  const namedCount = demand.namedPerToken;
  const hitCount = namedCount * expectedHitShare(demand, slotCount, pinnedCount);
  const missCount = namedCount - hitCount;
  const reads = predictor.dense
    ? streamReads(missCount * record.strideBytes)
    : sparseReads(request, missCount, demand);
  const blocks = streamedBlocks(request, layerIndex);
  const depthMax = predictor.dense ? streamDepth(request) : request.reader.inFlightMax;
  const blockReads = streamReads(blocks.readBytes);
  const ioMs =
    batchMs(request.device, reads.requestCount, reads.requestBytes, depthMax) +
    batchMs(request.device, blockReads.requestCount, blockReads.requestBytes, depthMax);
  const flightCount = Math.max(1, Math.ceil((missCount * record.strideBytes) / plan.flightBytes));
  const share = isExactlySparse(model.ffn)
    ? (bundle.manifest.calibration?.activeShareByLayer[layerIndex] ?? 1)
    : 1;
  const activeCount = Math.min(namedCount, share * demand.neuronCount);
  const scoreMs = predictor.dense
    ? 0
    : (1000 * blocks.scoredBytes) / kernel.scoreBytesPerSecond + SELECT_MS * demand.neuronCount;
  return {
    namedCount,
    hitCount,
    ioMs,
    readBytes: reads.requestCount * reads.requestBytes + blocks.readBytes,
    hitMs: hitCount * kernel.activationMs,
    computeMs:
      kernel.layerMs +
      positionCount * kernel.positionMs +
      scoreMs +
      STEP_MS +
      flightCount * kernel.flightMs +
      namedCount * kernel.activationMs +
      activeCount * kernel.downMs,
    cacheMs: namedCount * NAME_MS + missCount * MISS_MS,
  };
}

/** Bytes of a layer's attention and predictor that are read for every token, and those that the predictor computes with. */
function streamedBlocks(
  { bundle, plan, predictor }: ForecastRequest,
  layerIndex: number,
): { readBytes: number; scoredBytes: number } {
  const block = predictorBlock(bundle, predictor, layerIndex);
  const attentionBytes = plan.layerBlockResident[layerIndex] ? 0 : layerBlock(bundle, layerIndex).lengthBytes;
  const predictorBytes = block && !plan.predictorBlockResident[layerIndex] ? block.lengthBytes : 0;
  return { readBytes: attentionBytes + predictorBytes, scoredBytes: block?.lengthBytes ?? 0 };
}

function sparseReads(
  request: ForecastRequest,
  missCount: number,
  demand: LayerDemand,
): { requestCount: number; requestBytes: number } {
  const { strideBytes } = request.bundle.manifest.record;
  const { alignmentBytes, inFlightMax } = request.reader;
  const gapBytes = worthwhileGapBytes(
    request.device,
    strideBytes,
    Math.min(inFlightMax, Math.max(1, missCount)),
  );
  return missReads(missCount, demand.neuronCount, strideBytes, alignmentBytes, gapBytes);
}

function streamReads(lengthBytes: number): { requestCount: number; requestBytes: number } {
  return lengthBytes > 0 ? cutReads(1, lengthBytes) : { requestCount: 0, requestBytes: 0 };
}

/** Reads in flight while records are streamed: as many as the flights' staging holds. */
function streamDepth({ plan, reader }: ForecastRequest): number {
  const staged = Math.floor((FLIGHT_COUNT * plan.flightBytes) / READ_BYTES_MAX);
  return Math.max(1, Math.min(reader.inFlightMax, staged));
}

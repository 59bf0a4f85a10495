import type { BundleIndex, LayerDemand, ModelDemand, PredictorPart } from "@flashlm/contracts";
import { headTensor } from "../head-tiles.js";
import type { MemoryPlan } from "../memory-plan.js";
import { windowOfSlots } from "../share-slots.js";
import { blockMs, serveMs } from "./block-costs.js";
import type { DeviceSpeed } from "./device-costs.js";
import { uniformDemand } from "./expected-hits.js";
import type { KernelSpeed } from "./kernel-speed.js";
import { type LayerCost, layerCost } from "./layer-cost.js";
import { layerDemand } from "./layer-demand.js";
import type { LookAheadShares } from "./look-ahead-costs.js";
import { missFactors, missSpread } from "./miss-spread.js";
import { sparseWaitMs } from "./token-schedule.js";

/** What a forecast is made from. */
export interface ForecastRequest {
  readonly bundle: BundleIndex;
  readonly plan: MemoryPlan;
  /** Its own `lookAhead` says whether a layer's reads begin a layer early. */
  readonly predictor: PredictorPart;
  /** Measured demand of this predictor, or null: then neurons count as equally likely. */
  readonly demand: ModelDemand | null;
  readonly device: DeviceSpeed;
  readonly kernel: KernelSpeed;
  readonly reader: { readonly inFlightMax: number; readonly alignmentBytes: number };
  /** Positions that a token attends to on average. */
  readonly positionCount: number;
  /** What became of guesses in earlier runs; null or absent takes the usual. */
  readonly lookAheadShares?: LookAheadShares | null;
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
  /** Found in slots; records that were read early do not count. */
  readonly hitShare: number;
  /** Tokens whose neurons all fit the slots, in the layer where the fewest do; null for dense runs, which need no window. */
  readonly windowTokens: number | null;
  /** What was assumed for want of a measurement. */
  readonly assumptions: readonly string[];
}

/** Forecasts one token of decoding: the mean of tokens that miss ever more. Pure. */
export function forecastToken(request: ForecastRequest): TokenForecast {
  const { bundle, predictor, plan } = request;
  const demands = bundle.manifest.layers.map(
    ({ neuronCount }, layerIndex): LayerDemand =>
      layerDemand(bundle, predictor, request.demand, layerIndex) ?? uniformDemand(neuronCount, 1),
  );
  const factors = demands.map((demand, layerIndex) =>
    missFactors(missSpread(demand, plan.slotCountByLayer[layerIndex] ?? 0)),
  );
  const tokens = factors[0]!.map((_, draw) =>
    tokenCost(
      request,
      demands.map((demand, layerIndex) => layerCost(request, layerIndex, demand, factors[layerIndex]![draw])),
    ),
  );
  const mean = (pick: (token: TokenCost) => number): number =>
    tokens.reduce((total, token) => total + pick(token), 0) / tokens.length;
  const [ioWaitMs, cacheMs, computeMs] = [
    mean((token) => token.ioWaitMs),
    mean((token) => token.cacheMs),
    mean((token) => token.computeMs),
  ];
  const namedCount = mean((token) => token.namedCount);
  return {
    tokenMs: ioWaitMs + cacheMs + computeMs,
    ioWaitMs,
    cacheMs,
    computeMs,
    ioMs: mean((token) => token.ioMs),
    readBytes: mean((token) => token.readBytes),
    namedShare: namedCount / demands.reduce((total, demand) => total + demand.neuronCount, 0),
    hitShare: namedCount > 0 ? mean((token) => token.hitCount) / namedCount : 1,
    windowTokens: predictor.dense ? null : windowOfSlots(demands, plan.slotCountByLayer),
    assumptions: assumptionsOf(request),
  };
}

/** One token's sums over its layers and the head. */
type TokenCost = Pick<TokenForecast, "ioWaitMs" | "cacheMs" | "computeMs" | "ioMs" | "readBytes"> &
  Pick<LayerCost, "namedCount" | "hitCount">;

function tokenCost(request: ForecastRequest, layers: readonly LayerCost[]): TokenCost {
  const { bundle, kernel, plan, predictor } = request;
  const sum = (pick: (layer: LayerCost) => number): number =>
    layers.reduce((total, layer) => total + pick(layer), 0);
  const head = headTensor(bundle);
  const headBytes = plan.headResident ? 0 : head.lengthBytes;
  const tileCount = plan.headResident ? 1 : Math.max(1, Math.ceil(head.rowCount / plan.headTileRowCount));
  const tileIoMs = blockMs(request, headBytes / tileCount);
  const computeMs =
    sum((layer) => layer.attendMs + layer.scoreMs + layer.guessMs + layer.ffnMs) +
    kernel.headMs +
    serveMs(request, headBytes);
  const cacheMs = sum((layer) => layer.cacheMs);
  const ioMs =
    sum((layer) => layer.lateIoMs + layer.attentionIoMs + layer.predictorIoMs + layer.earlyIoMs) +
    tileCount * tileIoMs;
  const tileMs = (kernel.headMs + serveMs(request, headBytes)) / tileCount;
  return {
    ioWaitMs: predictor.dense
      ? Math.max(0, ioMs - computeMs - cacheMs)
      : sparseWaitMs(layers, { bufferCount: plan.blockBufferCount, tileCount, tileIoMs, tileMs }),
    cacheMs,
    computeMs,
    ioMs,
    readBytes: sum((layer) => layer.readBytes) + headBytes,
    namedCount: sum((layer) => layer.namedCount),
    hitCount: sum((layer) => layer.hitCount),
  };
}

function assumptionsOf(request: ForecastRequest): string[] {
  const isGuessUnknown =
    request.predictor.lookAhead === true && !request.predictor.lookAheadIsExact && !request.lookAheadShares;
  return [
    ...demandAssumptions(request),
    ...(isGuessUnknown
      ? [
          "look-ahead guesses three quarters of what is read, and wants three quarters of what it guesses (flashlm run measures it)",
        ]
      : []),
  ];
}

function demandAssumptions({ bundle, demand, predictor }: ForecastRequest): string[] {
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

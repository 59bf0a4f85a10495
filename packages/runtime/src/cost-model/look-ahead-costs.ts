import type { LayerCost } from "./layer-cost.js";

/** What becomes of guesses over a run. Shares from 0 to 1. */
export interface LookAheadShares {
  /** Of the records that are not in slots, those that were read early. */
  readonly guessedShare: number;
  /** Of the records that were read early, those that were wanted; above 0. */
  readonly usedShare: number;
}

/**
 * For heads that no run has measured: halfway between the half at which a layer's guesses are stopped (`LookAhead`) and all, both for what is
 * found and for what is of use.
 */
export const LOOK_AHEAD_USUAL: LookAheadShares = { guessedShare: 0.75, usedShare: 0.75 };

/** Milliseconds of a token in which the engine has nothing to do but wait for reads, where those of records wait for the predictor. */
export function sparseWaitMs(layers: readonly LayerCost[]): number {
  return layers.reduce((total, layer, layerIndex) => {
    const before = layers[layerIndex - 1];
    const lateMs = Math.max(0, layer.lateIoMs - layer.guessMs - layer.hitMs);
    const earlyMs =
      before && layer.earlyIoMs > 0 ? Math.max(0, layer.earlyIoMs - hidingMs(before, layer)) : 0;
    return total + Math.max(lateMs + earlyMs, streamedWaitMs(layer));
  }, 0);
}

/** Blocks are read ahead, whatever the engine does: only what the device cannot do in a layer's time is waited for. */
function streamedWaitMs({
  lateIoMs,
  earlyIoMs,
  blockIoMs,
  beforeMs,
  guessMs,
  ffnMs,
  cacheMs,
}: LayerCost): number {
  if (blockIoMs <= 0) return 0;
  return lateIoMs + earlyIoMs + blockIoMs - (beforeMs + guessMs + ffnMs + cacheMs);
}

/**
 * How long early reads of `layer` have before they are wanted. They begin once the layer before has made the guess and the device is done with
 * that layer's own reads, and go on while the rest of its FFN, and this layer's attention and predictor, are computed.
 */
function hidingMs(before: LayerCost, layer: LayerCost): number {
  const beginMs = Math.max(before.guessMs, before.lateIoMs);
  const restMs = before.ffnMs - before.hitMs;
  const endMs = Math.max(before.guessMs + before.hitMs, before.lateIoMs) + restMs;
  return endMs + layer.beforeMs - beginMs;
}

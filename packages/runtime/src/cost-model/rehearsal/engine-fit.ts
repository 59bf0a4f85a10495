import type { EngineSpeed, MissCost } from "../engine-speed.js";
import type { KernelSpeed } from "../kernel-speed.js";
import type { Scene } from "./play.js";
import type { LayerTime } from "./stage.js";

/** A scene, and what a layer of it took. */
export type SparsePlay = Scene & LayerTime;

/** A layer whose records are all read, in so many chunks. */
export interface DensePlay extends LayerTime {
  readonly neuronCount: number;
  readonly flightCount: number;
}

/** Beyond this, records in slots were disturbed rather than scattered. */
const SCATTER_MAX = 2;

/** What plays without misses (few hits, then many) and with ever more of them say of the engine. Pure. */
export function sparseSpeed(
  [few, many, ...missing]: readonly SparsePlay[],
  kernel: KernelSpeed,
): EngineSpeed["sparse"] {
  const moreCount = many!.hitCount - few!.hitCount;
  const slope = (pick: (time: LayerTime) => number): number =>
    Math.max(0, (pick(many!) - pick(few!)) / Math.max(1, moreCount));
  const neuronMs = kernel.activationMs + many!.activeShare * kernel.downMs;
  const scatter = Math.min(SCATTER_MAX, Math.max(1, slope(({ computeMs }) => computeMs) / neuronMs));
  const namedMs = scatter * neuronMs;
  const cacheNamedMs = slope(({ cacheMs }) => cacheMs);
  const cacheLayerMs = Math.max(0, few!.cacheMs - few!.hitCount * cacheNamedMs);
  const stepMs = Math.max(0, few!.computeMs - kernel.layerMs - few!.hitCount * namedMs);
  const misses = missing.map((scene): MissCost => {
    const namedCount = scene.hitCount + scene.missCount;
    return {
      missCount: scene.missCount,
      waitMs: scene.waitMs,
      cacheMs: Math.max(0, scene.cacheMs - cacheLayerMs - namedCount * cacheNamedMs),
      computeMs: Math.max(0, scene.computeMs - kernel.layerMs - stepMs - namedCount * namedMs),
    };
  });
  const none = { missCount: 0, waitMs: 0, cacheMs: 0, computeMs: 0 };
  return { stepMs, scatter, cacheLayerMs, cacheNamedMs, misses: [none, ...misses] };
}

/** What the same layer in few chunks and in many says of a chunk. Pure. */
export function denseSpeed(large: DensePlay, small: DensePlay, kernel: KernelSpeed): EngineSpeed["dense"] {
  const moreCount = Math.max(1, small.flightCount - large.flightCount);
  const cacheFlightMs = Math.max(0, (small.cacheMs - large.cacheMs) / moreCount);
  return {
    flightMs: Math.max(kernel.flightMs, (small.computeMs - large.computeMs) / moreCount),
    cacheFlightMs,
    cacheNamedMs: Math.max(0, large.cacheMs - large.flightCount * cacheFlightMs) / large.neuronCount,
  };
}

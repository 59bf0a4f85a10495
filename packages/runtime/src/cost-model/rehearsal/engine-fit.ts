import { type EngineSpeed, type MissCost, missCost } from "../engine-speed.js";
import type { KernelSpeed } from "../kernel-speed.js";
import type { Scene } from "./play.js";
import type { LayerTime } from "./stage.js";

/** A scene, and what a layer of it took. */
export type SparsePlay = Scene & LayerTime;

/** A layer whose records are all read, in so many chunks. */
export interface DensePlay extends LayerTime {
  readonly neuronCount: number;
  readonly recordBytes: number;
  readonly flightBytes: number;
  readonly flightCount: number;
}

/** Beyond this, records in slots were disturbed rather than scattered. */
const SCATTER_MAX = 2;

/** Plays of a stage whose attention is streamed. */
export interface StreamedPlays {
  /** Of a layer's attention. */
  readonly blockBytes: number;
  /** With few hits: without misses, then with ever more of them. */
  readonly plays: readonly SparsePlay[];
}

/** What plays without misses (few hits, then many) and with ever more of them say of the engine, what misses take that find no slots, and what streaming adds. Pure. */
export function sparseSpeed(
  [few, many, ...missing]: readonly SparsePlay[],
  overflowing: readonly SparsePlay[],
  kernel: KernelSpeed,
  streamed: StreamedPlays,
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
  const costOf = (scene: SparsePlay): MissCost => {
    const namedCount = scene.hitCount + scene.missCount;
    return {
      missCount: scene.missCount,
      // Hits are computed while the reads are under way.
      waitMs: scene.waitMs > 0 ? scene.waitMs + scene.hitCount * kernel.activationMs * scatter : 0,
      streamedMs: 0,
      cacheMs: Math.max(0, scene.cacheMs - cacheLayerMs - namedCount * cacheNamedMs),
      computeMs: Math.max(0, scene.computeMs - kernel.layerMs - stepMs - namedCount * namedMs),
    };
  };
  const none = { missCount: 0, waitMs: 0, streamedMs: 0, cacheMs: 0, computeMs: 0 };
  const costsOf = (plays: readonly SparsePlay[]): MissCost[] =>
    withStreamed(neverLess([none, ...plays.map(costOf)]), streamed.plays);
  const [alone] = streamed.plays;
  return {
    stepMs,
    scatter,
    cacheLayerMs,
    cacheNamedMs,
    blockBytesPerSecond: (1000 * streamed.blockBytes) / Math.max(1e-3, layerMs(alone!)),
    blockMsPerByte: Math.max(0, alone!.computeMs - few!.computeMs) / streamed.blockBytes,
    misses: costsOf(missing),
    overflows: costsOf(overflowing),
  };
}

const layerMs = ({ waitMs, cacheMs, computeMs }: LayerTime): number => waitMs + cacheMs + computeMs;

/** Where blocks are streamed, a layer's time is the device's, and misses take what they add to it: never less than they take by themselves. */
function withStreamed(misses: readonly MissCost[], [alone, ...streamed]: readonly SparsePlay[]): MissCost[] {
  const added = ascending(streamed.map((play) => Math.max(0, layerMs(play) - layerMs(alone!))));
  const points = [0, ...added].map((streamedMs, index) => ({
    missCount: index === 0 ? 0 : streamed[index - 1]!.missCount,
    waitMs: 0,
    streamedMs,
    cacheMs: 0,
    computeMs: 0,
  }));
  if (points.length < 2) return [...misses];
  return misses.map((cost) => ({
    ...cost,
    streamedMs: Math.max(cost.waitMs, missCost(points, cost.missCount).streamedMs),
  }));
}

/** More misses never cost less: where measurements say so, both count as their mean. */
function neverLess(misses: readonly MissCost[]): MissCost[] {
  const column = (pick: (cost: MissCost) => number): number[] => ascending(misses.map(pick));
  const waitMs = column((cost) => cost.waitMs);
  const cacheMs = column((cost) => cost.cacheMs);
  const computeMs = column((cost) => cost.computeMs);
  return misses.map(({ missCount }, index) => ({
    missCount,
    waitMs: waitMs[index]!,
    streamedMs: waitMs[index]!,
    cacheMs: cacheMs[index]!,
    computeMs: computeMs[index]!,
  }));
}

/** The nearest ascending list, by least squares: neighbours in the wrong order are joined until none are (Ayer et al., 1955). Pure. */
export function ascending(values: readonly number[]): number[] {
  const blocks: { mean: number; count: number }[] = [];
  for (const value of values) {
    blocks.push({ mean: value, count: 1 });
    for (
      let last = blocks.at(-1)!;
      blocks.length > 1 && blocks.at(-2)!.mean > last.mean;
      last = blocks.at(-1)!
    ) {
      blocks.pop();
      const before = blocks.pop()!;
      const count = before.count + last.count;
      blocks.push({ mean: (before.mean * before.count + last.mean * last.count) / count, count });
    }
  }
  return blocks.flatMap(({ mean, count }) => Array.from({ length: count }, () => mean));
}

/** What the same layer in ever more chunks says of a chunk, and of the reads; and what it takes with nothing to read, where that was played. Pure. */
export function denseSpeed(
  plays: readonly DensePlay[],
  kernel: KernelSpeed,
  resident: DensePlay | null,
): EngineSpeed["dense"] {
  const large = plays[0]!;
  const small = plays.at(-1)!;
  const moreCount = Math.max(1, small.flightCount - large.flightCount);
  const cacheFlightMs = Math.max(0, (small.cacheMs - large.cacheMs) / moreCount);
  const flightMs = Math.max(kernel.flightMs, (small.computeMs - large.computeMs) / moreCount);
  const stepOf = ({ neuronCount, activeShare, computeMs, flightCount }: DensePlay): number => {
    const recordsMs = neuronCount * (kernel.activationMs + activeShare * kernel.downMs);
    return Math.max(0, computeMs - kernel.layerMs - recordsMs - flightCount * flightMs);
  };
  return {
    resident: resident && { stepMs: stepOf(resident), cacheMs: resident.cacheMs },
    stepMs: stepOf(large),
    flightMs,
    cacheFlightMs,
    cacheNamedMs: Math.max(0, large.cacheMs - large.flightCount * cacheFlightMs) / large.neuronCount,
    // Small layers fit the staging of several scenes.
    streams: plays
      .filter((play, index) => play.flightBytes !== plays[index - 1]?.flightBytes)
      .map(streamOf)
      .reverse(),
  };
}

/** The next chunks are read while one is computed, so that all of a layer's time is the device's. */
function streamOf(play: DensePlay): EngineSpeed["dense"]["streams"][number] {
  const layerBytes = play.neuronCount * play.recordBytes;
  return {
    flightBytes: play.flightBytes,
    bytesPerSecond: (1000 * layerBytes) / Math.max(1e-3, layerMs(play)),
  };
}

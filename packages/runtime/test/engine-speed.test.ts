import { describe, expect, it } from "vitest";
import { missCost, mixedMissCost, streamBytesPerSecond } from "../src/cost-model/engine-speed.js";
import {
  ascending,
  type DensePlay,
  denseSpeed,
  type SparsePlay,
  sparseSpeed,
} from "../src/cost-model/rehearsal/engine-fit.js";

const kernel = {
  target: "wasm",
  threadCount: 2,
  layerMs: 0.1,
  positionMs: 0,
  activationMs: 1e-3,
  downMs: 1e-3,
  flightMs: 1e-3,
  headMs: 1,
  scoreBytesPerSecond: 1e9,
};

/** An engine whose layers have 0.2 ms of steps, records that take half as long again, 0.05 ms of asking and 0.002 ms a miss. */
const play = (hitCount: number, missCount: number): SparsePlay => ({
  hitCount,
  missCount,
  waitMs: 0.004 * missCount,
  cacheMs: 0.05 + 1e-4 * (hitCount + missCount) + 0.002 * missCount,
  computeMs: 0.1 + 0.2 + 1.5 * 2e-3 * (hitCount + missCount) + 1e-3 * missCount,
  activeShare: 1,
});

/** The same engine while 4 MB are streamed for each layer in 10 ms, beside which misses take more than twice as long. */
const streamed = {
  blockBytes: 4e6,
  plays: [0, 10, 100].map(
    (missCount): SparsePlay => ({
      ...play(30, missCount),
      computeMs: play(30, 0).computeMs + 0.4,
      cacheMs: 0,
      waitMs: 10 - play(30, 0).computeMs - 0.4 + 0.009 * missCount,
    }),
  ),
};

/** Misses without slots, of which the cache makes little. */
const overflow = (missCount: number): SparsePlay => ({
  ...play(0, missCount),
  cacheMs: play(0, missCount).cacheMs - 0.0015 * missCount,
});
const overflowing = [overflow(10), overflow(100)];

describe("what a rehearsal says", () => {
  it("of sparse layers is what they were made of", () => {
    const scenes = [play(30, 0), play(300, 0), play(30, 10), play(30, 100)];
    const speed = sparseSpeed(scenes, overflowing, kernel, streamed);
    const { misses, overflows, ...fixed } = speed;
    expect(fixed.stepMs).toBeCloseTo(0.2, 9);
    expect(fixed.scatter).toBeCloseTo(1.5, 9);
    expect(fixed.cacheLayerMs).toBeCloseTo(0.05, 9);
    expect(fixed.cacheNamedMs).toBeCloseTo(1e-4, 9);
    expect(fixed.blockBytesPerSecond).toBeCloseTo(4e8, 0);
    expect(fixed.blockMsPerByte).toBeCloseTo(1e-7, 15);
    for (const missCount of [0, 5, 10, 50, 100, 400]) {
      const cost = missCost(misses, missCount);
      // 30 hits of 0.0015 ms are computed while reads are under way.
      if (missCount >= 10) expect(cost.waitMs).toBeCloseTo(0.004 * missCount + 0.045, 9);
      if (missCount >= 10) expect(cost.streamedMs).toBeCloseTo(0.009 * missCount, 9);
      expect(cost.cacheMs).toBeCloseTo(0.002 * missCount, 9);
      expect(cost.computeMs).toBeCloseTo(1e-3 * missCount, 9);
      expect(missCost(overflows, missCount).cacheMs).toBeCloseTo(0.0005 * missCount, 9);
    }
    // Half, all and none of the misses find slots.
    for (const [slottedCount, missMs] of [
      [50, 0.00125],
      [100, 0.002],
      [300, 0.002],
      [0, 0.0005],
    ] as const) {
      const mixed = mixedMissCost(speed, 100, slottedCount);
      expect(mixed.cacheMs).toBeCloseTo(100 * missMs, 9);
      expect(mixed.computeMs).toBeCloseTo(0.1, 9);
    }
    expect(mixedMissCost(speed, 0, 0).cacheMs).toBe(0);
  });

  it("of disturbed plays is never negative, and more misses never cost less", () => {
    const quiet = play(30, 0);
    const scenes = [{ ...quiet, computeMs: 9 }, play(300, 0), { ...play(30, 10), cacheMs: 5 }, play(30, 100)];
    const { misses, overflows: _, ...fixed } = sparseSpeed(scenes, overflowing, kernel, streamed);
    for (const figure of Object.values(fixed)) expect(figure).toBeGreaterThanOrEqual(0);
    expect(misses.map(({ cacheMs }) => cacheMs)).toEqual(
      [...misses.map(({ cacheMs }) => cacheMs)].sort((a, b) => a - b),
    );
    expect(missCost(misses, 1000).computeMs).toBeGreaterThanOrEqual(0);
  });

  it("of dense layers is the difference that more chunks make", () => {
    const dense = (flightCount: number): DensePlay => ({
      neuronCount: 1000,
      recordBytes: 4096,
      flightBytes: (1000 * 4096) / flightCount,
      flightCount,
      waitMs: 1,
      cacheMs: 0.1 + 0.01 * flightCount,
      computeMs: 2 + 0.02 * flightCount,
      activeShare: 1,
    });
    const speed = denseSpeed([dense(2), dense(42)], kernel, null);
    expect(speed.flightMs).toBeCloseTo(0.02, 9);
    expect(speed.cacheFlightMs).toBeCloseTo(0.01, 9);
    expect(speed.cacheNamedMs).toBeCloseTo(1e-4, 9);
    // All records take 2 ms, so that nothing is left of the 2 ms beside the chunks; with faster kernels half of that is.
    expect(speed.stepMs).toBe(0);
    expect(denseSpeed([dense(2), dense(42)], { ...kernel, layerMs: 0, downMs: 0 }, null).stepMs).toBeCloseTo(
      1,
      9,
    );
    const rateOf = (layerMs: number): number => (1000 * 4_096_000) / layerMs;
    expect(streamBytesPerSecond(speed.streams, 1)).toBeCloseTo(rateOf(3.1 + 42 * 0.03), 3);
    expect(streamBytesPerSecond(speed.streams, 1e9)).toBeCloseTo(rateOf(3.1 + 2 * 0.03), 3);
    const between = streamBytesPerSecond(speed.streams, 4_096_000 / Math.sqrt(2 * 42));
    expect(between).toBeCloseTo(Math.sqrt(rateOf(4.36) * rateOf(3.16)), 3);
    // A layer that is one chunk either way says nothing of chunks.
    expect(denseSpeed([dense(1), dense(1)], kernel, null)).toMatchObject({
      resident: null,
      flightMs: kernel.flightMs,
      cacheFlightMs: 0,
    });
    const here = { ...dense(1), waitMs: 0, cacheMs: 0.03, computeMs: 2.5 };
    const { resident } = denseSpeed([dense(2), dense(42)], kernel, here);
    expect(resident!.stepMs).toBeCloseTo(2.5 - 0.1 - 2 - 0.02, 9);
    expect(resident!.cacheMs).toBe(0.03);
  });
});

it("lists are ascending at the least distance", () => {
  expect(ascending([1, 2, 3])).toEqual([1, 2, 3]);
  expect(ascending([0, 4, 2, 9])).toEqual([0, 3, 3, 9]);
  expect(ascending([3, 2, 1])).toEqual([2, 2, 2]);
  expect(ascending([])).toEqual([]);
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TopSelector } from "../src/top-select.js";

function bitsOf(scores: readonly number[]): Uint32Array {
  return new Uint32Array(Float32Array.from(scores).buffer);
}

function select(scores: readonly number[], keptCount: number): number[] {
  const mask = new Uint8Array(scores.length + 2).fill(7);
  new TopSelector(scores.length).select(bitsOf(scores), keptCount, mask, 1);
  expect([mask[0], mask.at(-1)]).toEqual([7, 7]);
  return Array.from(mask.subarray(1, -1));
}

/** Sorting, with ties to the lower index. */
function expected(scores: readonly number[], keptCount: number): number[] {
  const rounded = scores.map(Math.fround);
  const order = [...rounded.keys()].sort((a, b) => {
    const [first, second] = [rounded[a]!, rounded[b]!];
    return first === second ? a - b : second - first;
  });
  const kept = new Set(order.slice(0, keptCount));
  return rounded.map((_, index) => (kept.has(index) ? 1 : 0));
}

describe("TopSelector", () => {
  const score = fc.oneof(
    fc.float({ min: 0, noNaN: true }),
    fc.constantFrom(0, 1, 1.0000001, 2, 1e-40, Number.POSITIVE_INFINITY),
    fc.float({ min: 1, max: Math.fround(1.001), noNaN: true }),
  );

  it("agrees with sorting, also where scores tie or differ in their last bits", () => {
    fc.assert(
      fc.property(fc.array(score, { minLength: 1, maxLength: 60 }), fc.nat(60), (scores, wanted) => {
        const keptCount = Math.min(wanted, scores.length);
        expect(select(scores, keptCount)).toEqual(expected(scores, keptCount));
      }),
      { numRuns: 3000, seed: 3 },
    );
  });

  it("ranks what is not a number first and gives ties to the lower index", () => {
    expect(select([1, Number.NaN, Number.POSITIVE_INFINITY, 2], 1)).toEqual([0, 1, 0, 0]);
    expect(select([0, 0, 0, 0], 2)).toEqual([1, 1, 0, 0]);
    expect(select([-0, 0, 3], 2)).toEqual([1, 0, 1]);
  });

  it("selects from 11008 scores in far less than a millisecond", () => {
    const scores = Array.from(
      { length: 11_008 },
      (_, index) => Math.abs(Math.sin(index) * Math.cos(index * 3)) ** 3,
    );
    const bits = bitsOf(scores);
    const mask = new Uint8Array(bits.length);
    const selector = new TopSelector(bits.length);
    const times: number[] = [];
    for (let run = 0; run < 300; run++) {
      const start = performance.now();
      selector.select(bits, 6605, mask, 0);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    console.log(`selecting 6605 of 11008: median ${(times[150]! * 1000).toFixed(0)} us`);
    expect(times[75]!).toBeLessThan(1);
  });
});

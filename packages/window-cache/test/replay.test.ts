import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  beladyOptimum,
  parseCache,
  replayOptimum,
  replayTrace,
  type Trace,
  type TraceLayer,
} from "../src/index.js";

function layerOf(unitCount: number, tokens: readonly (readonly number[])[]): TraceLayer {
  const starts = [0];
  for (const ids of tokens) starts.push(starts.at(-1)! + ids.length);
  return { unitCount, starts: Uint32Array.from(starts), ids: Uint16Array.from(tokens.flat()) };
}

function traceOf(layers: readonly TraceLayer[]): Trace {
  return {
    header: { formatVersion: 1, unit: "neuron", layers, recordBytes: 100, model: "", sparsity: "" },
    tokenCount: layers[0]!.starts.length - 1,
    layers,
  };
}

/** Most hits over every way to fill the slots: all subsets of at most `slotCount` units after every token, by brute force. */
function bruteForce(unitCount: number, tokens: readonly (readonly number[])[], slotCount: number): number {
  const sizeOf = (set: number): number => set.toString(2).replaceAll("0", "").length;
  let best = new Map<number, number>([[0, 0]]);
  for (const ids of tokens) {
    const named = ids.reduce((set, id) => set | (1 << id), 0);
    const after = new Map<number, number>();
    for (const [held, hits] of best) {
      const reached = hits + sizeOf(held & named);
      const available = held | named;
      for (let set = 0; set < 1 << unitCount; set++) {
        if ((set & ~available) !== 0 || sizeOf(set) > slotCount) continue;
        after.set(set, Math.max(after.get(set) ?? 0, reached));
      }
    }
    best = after;
  }
  return Math.max(...best.values());
}

const UNITS = 6;
const small = fc.array(
  fc.uniqueArray(fc.nat(UNITS - 1), { maxLength: 4 }).map((ids) => ids.sort((a, b) => a - b)),
  { minLength: 1, maxLength: 9 },
);

describe("Belady's optimum", () => {
  it("has as many hits as the best of all ways to fill the slots", () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 0, max: 5 }), (tokens, slotCount) => {
        const { hitCount, missCount } = beladyOptimum(layerOf(UNITS, tokens), slotCount);
        expect(hitCount).toBe(bruteForce(UNITS, tokens, slotCount));
        expect(hitCount + missCount).toBe(tokens.flat().length);
      }),
      { numRuns: 400, seed: 2 },
    );
  });

  it("is a bound for every policy, and more slots never cost hits", () => {
    const sets = fc.array(
      fc.uniqueArray(fc.nat(29), { maxLength: 15 }).map((ids) => ids.sort((a, b) => a - b)),
      { minLength: 2, maxLength: 40 },
    );
    fc.assert(
      fc.property(sets, fc.integer({ min: 1, max: 30 }), (tokens, slotCount) => {
        const trace = traceOf([layerOf(30, tokens)]);
        const options = { slotCountByLayer: [slotCount], windowTokens: 3, warmupTokens: 0 };
        const best = replayOptimum(trace, options).hitCount;
        for (const name of ["auto", "window", "compact", "lru", "lfu:8", "pinned", "hybrid:0.5"])
          expect(replayTrace(trace, parseCache(name), options).hitCount, name).toBeLessThanOrEqual(best);
        const more = { ...options, slotCountByLayer: [slotCount + 1] };
        expect(replayOptimum(trace, more).hitCount).toBeGreaterThanOrEqual(best);
      }),
      { numRuns: 200, seed: 9 },
    );
  });
});

describe("replay", () => {
  it("counts hits, misses and bytes per token after the warm-up, over layers", () => {
    const trace = traceOf([
      layerOf(10, [
        [1, 2],
        [1, 2],
        [1, 3],
      ]),
      layerOf(10, [[5], [6], [5]]),
    ]);
    const row = replayTrace(trace, parseCache("window"), {
      slotCountByLayer: [3, 1],
      windowTokens: 5,
      warmupTokens: 1,
    });
    // Layer 0: 1 and 2 hit, then 1 hits and 3 misses. Layer 1 with one slot: 6 and 5 miss.
    expect(row).toEqual({ name: "window", hitCount: 3, missCount: 3, hitRate: 0.5, readBytesPerToken: 150 });
  });

  it("leaves pins to the demand where the choice does: a token that needs more than the slots", () => {
    const tokens = Array.from({ length: 20 }, (_, token) => [0, 1, 2, 10 + (token % 7), 20 + (token % 5)]);
    const trace = traceOf([layerOf(40, tokens)]);
    const rate = (name: string, slotCount: number): number =>
      replayTrace(trace, parseCache(name), {
        slotCountByLayer: [slotCount],
        windowTokens: 5,
        warmupTokens: 2,
      }).hitRate;
    expect(rate("auto", 3)).toBeCloseTo(0.6, 10);
    expect(rate("auto", 3)).toBe(rate("pinned", 3));
    expect(rate("auto", 30)).toBe(rate("window", 30));
  });
});

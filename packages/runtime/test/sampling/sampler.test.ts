import type { SamplingOptions } from "@flashlm/contracts";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRandomSource, createSampler } from "../../src/sampling/index.js";

const GREEDY: SamplingOptions = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };

/** The filters in their documented order, in float64 and without any cleverness: probability of each token. */
function oracle(logits: Float32Array, recent: readonly number[], options: SamplingOptions): number[] {
  const seen = new Set(recent.slice(-64));
  const scores = Array.from(logits, (logit, id) => {
    if (!seen.has(id) || options.repetitionPenalty === 1) return logit;
    return Math.fround(logit > 0 ? logit / options.repetitionPenalty : logit * options.repetitionPenalty);
  });
  const order = scores
    .map((_, id) => id)
    .sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  const top = options.topK === 0 ? order : order.slice(0, options.topK);
  const best = scores[order[0] as number] as number;
  const weights = top.map((id) => Math.exp(((scores[id] as number) - best) / options.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const kept = new Map<number, number>();
  let mass = 0;
  top.forEach((id, index) => {
    const weight = weights[index] as number;
    const inTopP = options.topP === 1 || index === 0 || mass < options.topP * total;
    mass += weight;
    if (inTopP && (index === 0 || weight >= options.minP)) kept.set(id, weight);
  });
  const sum = [...kept.values()].reduce((a, b) => a + b, 0);
  return scores.map((_, id) => (kept.get(id) ?? 0) / sum);
}

/** Logits that are well apart, so that no filter stands on an edge. */
function someLogits(count: number, seed: number): Float32Array {
  const random = createRandomSource(seed);
  return Float32Array.from({ length: count }, () => random.next() * 6 - 3);
}

describe("createSampler", () => {
  it("takes the first largest when greedy", () => {
    const sampler = createSampler(GREEDY, 4);
    expect(sampler.next(Float32Array.of(1, 3, 3, 2), [])).toBe(1);
    expect(sampler.next(Float32Array.of(Number.NaN, -5, Number.NEGATIVE_INFINITY, -5), [])).toBe(1);
    expect(sampler.next(Float32Array.of(0, 1, Number.POSITIVE_INFINITY, 3), [])).toBe(2);
  });

  it("penalises each of the last 64 tokens once, and leaves the logits alone", () => {
    const sampler = createSampler({ ...GREEDY, repetitionPenalty: 2 }, 4);
    const logits = Float32Array.of(4, 3, 1.5, -1);
    expect(sampler.next(logits, [0])).toBe(1);
    expect(sampler.next(logits, [0, 0, 1, 1, 99999, -1])).toBe(0);
    expect(sampler.next(logits, Uint32Array.of(0, ...new Array<number>(64).fill(3)))).toBe(0);
    expect(createSampler({ ...GREEDY, repetitionPenalty: 2 }, 2).next(Float32Array.of(-1, -1.5), [0])).toBe(
      1,
    );
    expect([...logits]).toEqual([4, 3, 1.5, -1]);
  });

  it.each<[string, Partial<SamplingOptions>]>([
    ["temperature 1", {}],
    ["temperature 0.5", { temperature: 0.5 }],
    ["top-k", { topK: 5 }],
    ["top-k beyond the vocabulary", { topK: 5000 }],
    ["top-p", { topP: 0.7 }],
    ["min-p", { minP: 0.2 }],
    ["top-k and top-p", { topK: 12, topP: 0.8 }],
    ["top-p and min-p", { topP: 0.95, minP: 0.1, temperature: 1.3 }],
    ["all", { topK: 20, topP: 0.9, minP: 0.05, temperature: 0.8, repetitionPenalty: 1.3 }],
  ])("draws with the probabilities of the oracle: %s", (_, some) => {
    const options = { ...GREEDY, temperature: 1, seed: 20260101, ...some };
    const logits = someLogits(40, 7);
    const recent = [3, 5, 8, 3];
    const expected = oracle(logits, recent, options);
    const sampler = createSampler(options, 40);
    const told = new Float64Array(40).fill(7);
    sampler.weigh(logits, recent, told);
    expected.forEach((probability, id) => {
      expect(told[id]).toBeCloseTo(probability, 12);
    });
    const drawCount = 40_000;
    const counts = new Float64Array(40);
    for (let draw = 0; draw < drawCount; draw++) {
      const id = sampler.next(logits, recent);
      counts[id] = (counts[id] as number) + 1;
    }
    let chiSquare = 0;
    let cellCount = 0;
    for (let id = 0; id < 40; id++) {
      const wanted = (expected[id] as number) * drawCount;
      if (wanted === 0) expect(counts[id]).toBe(0);
      else {
        chiSquare += ((counts[id] as number) - wanted) ** 2 / wanted;
        cellCount++;
      }
    }
    // Mean f, variance 2f: five deviations are never reached by chance, and the seed is fixed.
    expect(chiSquare).toBeLessThan(cellCount + 5 * Math.sqrt(2 * cellCount));
  });

  it("never draws what the oracle filters, whatever the logits", () => {
    const option = fc.record({
      topK: fc.nat(600),
      topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
      minP: fc.double({ min: 0, max: 1, noNaN: true }),
      temperature: fc.double({ min: 0.05, max: 5, noNaN: true }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(option, (some) => {
        const options = { ...GREEDY, ...some };
        const logits = someLogits(500, some.seed);
        const allowed = oracle(logits, [], options);
        const sampler = createSampler(options, 500);
        for (let draw = 0; draw < 20; draw++) expect(allowed[sampler.next(logits, [])]).toBeGreaterThan(0);
      }),
      { numRuns: 60 },
    );
  });

  it("repeats itself with the same seed only", () => {
    const logits = someLogits(1000, 3);
    const draw = (seed: number): number[] => {
      const sampler = createSampler({ ...GREEDY, temperature: 2, topP: 0.99, seed }, 1000);
      return Array.from({ length: 30 }, () => sampler.next(logits, []));
    };
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
    expect(draw(5)).not.toEqual(draw(5 + 2 ** 32));
  });

  it("gives uniform numbers", () => {
    const random = createRandomSource(0);
    const bins = new Float64Array(16);
    for (let draw = 0; draw < 64_000; draw++) {
      const bin = Math.floor(random.next() * 16);
      bins[bin] = (bins[bin] as number) + 1;
    }
    const chiSquare = bins.reduce((sum, count) => sum + (count - 4000) ** 2 / 4000, 0);
    // 15 degrees of freedom: the 0.1 % quantile is 37.7.
    expect(chiSquare).toBeLessThan(37.7);
  });

  it("works with one token and with ties everywhere", () => {
    expect(createSampler({ ...GREEDY, temperature: 1 }, 1).next(Float32Array.of(-3), [])).toBe(0);
    const sampler = createSampler({ ...GREEDY, temperature: 1, topK: 3 }, 100);
    for (let draw = 0; draw < 50; draw++) expect(sampler.next(new Float32Array(100), [])).toBeLessThan(3);
  });

  it("is fast on a real vocabulary", () => {
    const logits = someLogits(49152, 11);
    const sampler = createSampler(
      { ...GREEDY, temperature: 0.8, topK: 40, topP: 0.95, repetitionPenalty: 1.1 },
      49152,
    );
    for (let draw = 0; draw < 50; draw++) sampler.next(logits, [1, 2, 3]);
    const started = performance.now();
    for (let draw = 0; draw < 50; draw++) sampler.next(logits, [1, 2, 3]);
    expect((performance.now() - started) / 50).toBeLessThan(25);
  });

  it.each<[string, Partial<SamplingOptions>]>([
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: Number.NaN }],
    ["topK", { topK: 1.5 }],
    ["topP", { topP: 0 }],
    ["topP", { topP: Number.NaN }],
    ["minP", { minP: 1.1 }],
    ["repetitionPenalty", { repetitionPenalty: 0 }],
    ["seed", { seed: -1 }],
    ["seed", { seed: Number.POSITIVE_INFINITY }],
  ])("refuses a bad %s", (name, some) => {
    expect(() => createSampler({ ...GREEDY, ...some }, 10)).toThrow(
      expect.objectContaining({ code: "ENGINE_OPTION", message: expect.stringContaining(name) }),
    );
  });

  it("refuses logits it cannot use", () => {
    const sampler = createSampler(GREEDY, 2);
    expect(() => sampler.next(new Float32Array(3), [])).toThrow(
      expect.objectContaining({ code: "ENGINE_OPTION" }),
    );
    expect(() => sampler.next(new Float32Array(2).fill(Number.NaN), [])).toThrow(
      expect.objectContaining({ code: "ENGINE_CONTRACT" }),
    );
  });
});

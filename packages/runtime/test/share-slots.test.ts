import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BundleIndex, CachePart, LayerDemand, ModelDemand } from "@flashlm/contracts";
import { planEngine, uniformDemand, windowNeurons } from "@flashlm/runtime";
import { compactCache, parseCache, replayTrace, type Trace, traceDemand } from "@flashlm/window-cache";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandomSource } from "../src/sampling/index.js";
import { shareSlots, windowOfSlots } from "../src/share-slots.js";
import { bundleInto, engineOf, greedy, partsOf } from "./support/engines.js";
import { fixture } from "./support/fixtures.js";

const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);

/** Layers of any size with demands of any shape. */
const demandsGiven = fc.array(
  fc
    .record({
      neuronCount: fc.integer({ min: 1, max: 5000 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      repeated: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ neuronCount, share, repeated }): LayerDemand => {
      const plain = uniformDemand(neuronCount, share);
      return { ...plain, freshShareByWindow: plain.freshShareByWindow.map((fresh) => fresh * repeated) };
    }),
  { minLength: 1, maxLength: 12 },
);

describe("sharing slots", () => {
  it("gives every slot, whole ones, none above a layer's neurons, and one token's demand where that fits", () => {
    fc.assert(
      fc.property(
        demandsGiven,
        fc.nat(40_000),
        fc.boolean(),
        fc.boolean(),
        (demands, totalCount, isKnown, lookAhead) => {
          const counts = shareSlots(demands, isKnown ? demands : null, totalCount, lookAhead);
          const most = total(demands.map(({ neuronCount }) => neuronCount));
          expect(total(counts)).toBe(Math.min(totalCount, most));
          const tokenCounts = demands.map(({ namedPerToken }) => Math.ceil(namedPerToken));
          for (const [index, count] of counts.entries()) {
            expect(Number.isInteger(count)).toBe(true);
            expect(count).toBeGreaterThanOrEqual(0);
            expect(count).toBeLessThanOrEqual(demands[index]!.neuronCount);
            if (isKnown && total(tokenCounts) <= totalCount)
              expect(count).toBeGreaterThanOrEqual(tokenCounts[index]!);
          }
          expect(shareSlots(demands, isKnown ? demands : null, totalCount, lookAhead)).toEqual(counts);
        },
      ),
    );
  });

  it("gives the same number to all where nothing is known, but for neurons that a layer has not", () => {
    const layers = [{ neuronCount: 100 }, { neuronCount: 10 }, { neuronCount: 100 }];
    expect(shareSlots(layers, null, 9)).toEqual([3, 3, 3]);
    expect(shareSlots(layers, null, 110)).toEqual([50, 10, 50]);
    expect(shareSlots(layers, null, 111)).toEqual([51, 10, 50]);
    expect(shareSlots(layers, null, Number.POSITIVE_INFINITY)).toEqual([100, 10, 100]);
  });

  it("gives what one window names, and no longer window fits", () => {
    const demands = [uniformDemand(1000, 0.1), uniformDemand(1000, 0.02), uniformDemand(500, 0.2)];
    for (const totalCount of [250, 400, 800, 1500]) {
      const counts = shareSlots(demands, demands, totalCount);
      const window = windowOfSlots(demands, counts);
      const needed = (tokens: number): number =>
        total(demands.map((demand) => Math.ceil(windowNeurons(demand, tokens))));
      expect(needed(window)).toBeLessThanOrEqual(totalCount);
      expect(needed(window + 1)).toBeGreaterThan(totalCount);
    }
    // Too few for one token: by what a token names.
    expect(shareSlots(demands, demands, 110)).toEqual([50, 10, 50]);
  });

  it("gives the first layer a longer window where only the others are read early, and takes it from all alike", () => {
    const demands = Array.from({ length: 8 }, () => uniformDemand(2000, 0.05));
    const alike = shareSlots(demands, demands, 4000);
    const longer = shareSlots(demands, demands, 4000, true);
    expect(alike[0]).toBe(alike[1]);
    expect(longer[0]).toBeGreaterThan(1.5 * alike[0]!);
    expect(longer[1]).toBeLessThan(alike[1]!);
    expect(Math.max(...longer.slice(1)) - Math.min(...longer.slice(1))).toBeLessThan(2);
    expect(total(longer)).toBe(4000);
  });

  it("gives layers that name much more than their window where they are read early, and none less than a token names", () => {
    const demands = [0.05, 0.025, 0.05, 0.1].map((share) => uniformDemand(2000, share));
    for (const totalCount of [900, 2000]) {
      const [plain, even] = [false, true].map((lookAhead) =>
        shareSlots(demands, demands, totalCount, lookAhead),
      );
      const ratios = even!.map((count, layerIndex) => count / plain![layerIndex]!);
      expect(ratios[1]!).toBeLessThan(ratios[2]!);
      expect(ratios[2]!).toBeLessThan(ratios[3]!);
      expect(total(even!)).toBe(totalCount);
      for (const [layerIndex, count] of even!.entries())
        expect(count).toBeGreaterThanOrEqual(Math.floor(windowNeurons(demands[layerIndex]!, 1)));
    }
  });

  it("has fewer misses than the same number for all, in a trace whose layers differ", () => {
    const trace = skewedTrace([0.02, 0.3, 0.05, 0.15], 400, 300);
    const demands = traceDemand(trace).layers;
    const choice = parseCache("window");
    const misses = (slotCountByLayer: readonly number[]): number =>
      replayTrace(trace, choice, { slotCountByLayer, windowTokens: 5, warmupTokens: 50 }).missCount;
    for (const totalCount of [240, 480, 800]) {
      const uniform = misses(shareSlots(demands, null, totalCount));
      const shared = misses(shareSlots(demands, demands, totalCount));
      expect(shared, `${totalCount} slots`).toBeLessThan(0.95 * uniform);
    }
  });
});

/** Each layer names its share of the neurons: half of them those of the token before, the others at random. */
function skewedTrace(shares: readonly number[], unitCount: number, tokenCount: number): Trace {
  const random = createRandomSource(3);
  const layers = shares.map((share) => {
    const starts = [0];
    const ids: number[] = [];
    let before = new Set<number>();
    for (let token = 0; token < tokenCount; token++) {
      const named = new Set<number>();
      for (let id = 0; id < unitCount; id++) {
        const chance = before.has(id) ? 0.5 + share / 2 : (share * 0.5) / (1 - share / 2);
        if (random.next() < chance) named.add(id);
      }
      ids.push(...named);
      starts.push(ids.length);
      before = named;
    }
    return { unitCount, starts: Uint32Array.from(starts), ids: Uint16Array.from(ids) };
  });
  const header = {
    formatVersion: 1,
    unit: "neuron",
    layers,
    recordBytes: 1,
    model: "",
    sparsity: "",
  } as const;
  return { header, tokenCount, layers };
}

const checkpoint = fixture("families/llama-relu");

describe.skipIf(checkpoint === null)("a plan with demand", () => {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-slots-"));
  let bundle: BundleIndex;
  beforeAll(async () => {
    bundle = await bundleInto(checkpoint!, folder, "f32");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A first layer that names much and others that name little. */
  const skewed = (): ModelDemand => ({
    sparsity: "oracle",
    tokenCount: 100,
    layers: bundle.manifest.layers.map(({ neuronCount }, layerIndex) =>
      uniformDemand(neuronCount, layerIndex === 0 ? 0.3 : 0.05),
    ),
  });
  /** Half of the neurons have no slot. */
  function optionsOf(demand: ModelDemand | null) {
    const options = { contextLength: 192, threadCount: 2, demand };
    const parts = partsOf(bundle, { sparsity: "oracle" });
    const most = planEngine(parts, { ...options, memoryBytes: Number.POSITIVE_INFINITY });
    // A plan with a limit has smaller buffers.
    const whole = planEngine(parts, { ...options, memoryBytes: most.totalBytes });
    const neuronCount = total(bundle.manifest.layers.map((layer) => layer.neuronCount));
    const slotBytes = neuronCount * bundle.manifest.record.strideBytes;
    return { ...options, memoryBytes: whole.totalBytes - Math.floor(slotBytes / 2) };
  }

  it("divides slots unevenly, says which window fits, and the tokens stay the same", async () => {
    const planOf = (demand: ModelDemand | null) =>
      planEngine(partsOf(bundle, { sparsity: "oracle" }), optionsOf(demand));
    const uniform = planOf(null);
    const shared = planOf(skewed());
    expect(uniform.windowTokens).toBeNull();
    expect(Math.max(...uniform.slotCountByLayer) - Math.min(...uniform.slotCountByLayer)).toBeLessThan(2);
    expect(total(shared.slotCountByLayer)).toBe(total(uniform.slotCountByLayer));
    expect(total(uniform.slotCountByLayer)).toBeLessThan(3 * bundle.manifest.model.ffn.neuronCount);
    expect(shared.slotCountByLayer[0]).toBeGreaterThan(1.5 * shared.slotCountByLayer[1]!);
    expect(shared.windowTokens).toBe(windowOfSlots(skewed().layers, shared.slotCountByLayer));
    expect(shared.totalBytes).toBeLessThanOrEqual(optionsOf(null).memoryBytes);
    const tokens: number[][] = [];
    const mixes: readonly { demand: ModelDemand | null; cache?: CachePart }[] = [
      { demand: null },
      { demand: skewed() },
      { demand: skewed(), cache: compactCache },
    ];
    for (const { demand, ...mix } of mixes) {
      const engine = await engineOf(bundle, { sparsity: "oracle", options: optionsOf(demand), ...mix });
      expect(engine.mode.window).toBe(demand ? `${shared.windowTokens} tokens fit` : undefined);
      tokens.push(await greedy(engine, [5, 9, 2, 7, 1], 128));
      await engine.close();
    }
    expect(tokens[1]).toEqual(tokens[0]);
    expect(tokens[2]).toEqual(tokens[0]);
  });
});

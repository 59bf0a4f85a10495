import { join } from "node:path";
import type { BundleIndex, FlashReader, PredictorPart } from "@flashlm/contracts";
import { createFaultyReader, createNodeReader } from "@flashlm/flash-io";
import { parseSparsity } from "@flashlm/predictor";
import { compactCache, slotMapCache } from "@flashlm/window-cache";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { engineOf, greedy, halfSlotsBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";
import { bundleWithHeads } from "./support/heads.js";
import { lazyReader } from "./support/lazy-reader.js";

const STEPS = 128;
const path = fixture("families/llama-relu");

/** Readers by how early reads come: at once, late, or not before they are waited for. */
const readers: Readonly<Record<string, (paths: readonly string[]) => Promise<FlashReader>>> = {
  plain: (paths) => createNodeReader(paths),
  slow: async (paths) =>
    createFaultyReader(await createNodeReader(paths), { seed: 3, delayRate: 0.05, delayMs: 1 }),
  lazy: async (paths) => lazyReader(await createNodeReader(paths)),
};

describe.skipIf(path === null)("look-ahead", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  let prompt: readonly number[];
  /** Tokens without look-ahead. */
  let wanted: readonly number[];
  beforeAll(async () => {
    bundle = await bundleWithHeads(path!, folder.path);
    prompt = readJson<Expected>(join(path!, "expected.json")).prompt;
    const engine = await engineOf(bundle, { sparsity: "lowrank" });
    wanted = await greedy(engine, prompt, STEPS);
    await engine.close();
  });
  afterAll(folder.dispose);

  /** At most half of the neurons have slots, so that every token reads. */
  const mixOf = (parts: Mix["parts"], sparsity = "lowrank", lookAhead = true): Mix => {
    const predictor = parseSparsity(sparsity, { lookAhead });
    const options = { memoryBytes: Number.POSITIVE_INFINITY, contextLength: 256, threadCount: 1 };
    const mix = { parts: { ...parts, predictor }, options };
    const memoryBytes = halfSlotsBytes(partsOf(bundle, mix), options);
    return { ...mix, options: { ...options, memoryBytes } };
  };

  for (const cache of [slotMapCache, compactCache]) {
    for (const [name, openReader] of Object.entries(readers)) {
      it(`changes no token: ${cache.name}, ${name} reads`, async () => {
        const mix = mixOf({ openReader, cache });
        const engine = await engineOf(bundle, { ...mix, options: { ...mix.options, verify: "always" } });
        try {
          expect(await greedy(engine, prompt, STEPS)).toEqual(wanted);
          const { recordCount, usedCount, cancelledCount, wastedBytes } = engine.report().lookAhead!;
          expect(usedCount).toBeGreaterThan(0);
          expect(usedCount + cancelledCount).toBeLessThanOrEqual(recordCount);
          expect(usedCount).toBeLessThan(recordCount);
          // Wrong guesses were read in vain, or were given up.
          // The compact cache forgets what left the window, so that it guesses and reads at every token.
          if (name === "lazy" && cache === compactCache) expect(cancelledCount).toBeGreaterThan(0);
          else expect(cancelledCount + wastedBytes).toBeGreaterThan(0);
        } finally {
          await engine.close();
        }
      });
    }
  }

  for (const cache of [slotMapCache, compactCache]) {
    it(`reads nothing in vain where the layer before names what is computed: ${cache.name}`, async () => {
      const ways = [true, false].map((lookAhead) => mixOf({ cache }, "lookahead", lookAhead));
      const [early, late] = await Promise.all(ways.map((mix) => engineOf(bundle, mix)));
      const tokens = await greedy(early!, prompt, STEPS);
      expect(await greedy(late!, prompt, STEPS)).toEqual(tokens);
      const { recordCount, usedCount, cancelledCount, wastedBytes } = early!.report().lookAhead!;
      expect([usedCount, cancelledCount, wastedBytes]).toEqual([recordCount, 0, 0]);
      expect(recordCount).toBeGreaterThan(0);
      expect(late!.report().lookAhead).toBeUndefined();
      await Promise.all([early!.close(), late!.close()]);
    });
  }

  it("asks for surer guesses while records are read in vain", async () => {
    const margins: number[] = [];
    const mix = mixOf({ cache: compactCache });
    const guessed = mix.parts!.predictor!;
    const predictor: PredictorPart = {
      ...guessed,
      create: (context) => ({
        ...guessed.create(context),
        lookAheadInto(layerIndex, ids, margin) {
          if (layerIndex === 0) margins.push(margin);
          for (let id = 0; id < ids.length; id++) ids[id] = id;
          return ids.length;
        },
      }),
    };
    // Room for all that is guessed: the compact cache forgets it.
    const options = { ...mix.options, memoryBytes: Number.POSITIVE_INFINITY };
    const engine = await engineOf(bundle, { parts: { ...mix.parts, predictor }, options });
    try {
      expect(await greedy(engine, prompt, STEPS)).toEqual(wanted);
      expect(margins[0]).toBe(0);
      expect(margins.length).toBeGreaterThan(8);
      expect(margins[8]).toBeGreaterThan(margins[1]!);
      expect(margins.at(-1)).toBeGreaterThan(margins[8]!);
      expect(Math.max(...margins)).toBeLessThanOrEqual(8);
    } finally {
      await engine.close();
    }
  });
});

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { BundleIndex, CacheDtype } from "@flashlm/contracts";
import { createNativeKernels, nativeVariants } from "@flashlm/kernels";
import { type EngineOptions, planEngine } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, logitsOf, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";
import { speculativeOf } from "./support/speculation.js";

/** Of the fixtures; their windows are 16 tokens. */
const WINDOW = 16;
const CONTEXT = 320;
const STEPS = 288;
/** As many tokens together as there are in the context: every layer keeps all of them. */
const WHOLE = { contextLength: CONTEXT, promptChunkTokens: CONTEXT };
const PAGE = 4096;

const variants = (await nativeVariants()).filter(({ missing }) => missing === "");
const TARGETS: readonly (readonly [name: string, mix: Mix])[] = [
  ["reference", { kernels: "reference" }],
  ["wasm", { kernels: "wasm" }],
  ...variants.map(({ name }): readonly [string, Mix] => [
    `native ${name}`,
    { parts: { createKernels: (options) => createNativeKernels({ ...options, variant: name }) } },
  ]),
];

function cacheBytes(bundle: BundleIndex, options: Partial<EngineOptions>): number {
  const all = { memoryBytes: Number.POSITIVE_INFINITY, contextLength: null, threadCount: 1, ...options };
  const { rows } = planEngine(partsOf(bundle, {}), all);
  return rows.find(({ owner }) => owner === "kv cache")!.plannedBytes;
}

for (const family of ["mistral", "gemma2", "gemma3"]) {
  const path = fixture(`families/${family}`);
  const otherPath = fixture(family === "mistral" ? "families/gemma3" : "families/mistral");
  describe.skipIf(path === null || otherPath === null)(`${family} keeps its windows' keys and values`, () => {
    const folder = temporaryFolder();
    let bundle: BundleIndex;
    let other: BundleIndex;
    /** Guesses right most of the time. */
    let coarse: BundleIndex;
    let text: number[];
    beforeAll(async () => {
      bundle = await bundleInto(path!, folder.path, "f32");
      other = await bundleInto(otherPath!, join(folder.path, "other"), "f32");
      coarse = await bundleInto(path!, folder.path, "q4_0");
      const { prompt, greedy: expected, probe } = readJson<Expected>(join(path!, "expected.json"));
      text = [...prompt, ...expected, ...probe, ...expected].slice(0, CONTEXT);
    });
    afterAll(folder.dispose);

    /** Logits of a text and of what follows its beginning, over several sequences. */
    const run = async (mix: Mix, options: Partial<EngineOptions>): Promise<unknown> => {
      const engine = await engineOf(bundle, { ...mix, options });
      try {
        const logits = await logitsOf(engine, text, bundle.manifest.model.vocabularySize);
        const isSlow = mix.kernels === "reference";
        const tokens = isSlow ? [] : await greedy(engine, text.slice(0, CONTEXT - STEPS), STEPS);
        return { logits: createHash("sha256").update(logits).digest("hex"), tokens };
      } finally {
        await engine.close();
      }
    };

    it.each(TARGETS)("and gives the bits of a whole cache: %s", async (_, mix) => {
      const whole = await run(mix, WHOLE);
      for (const promptChunkTokens of mix.kernels === "reference" ? [23] : [1, 23, 64])
        expect(await run(mix, { contextLength: CONTEXT, promptChunkTokens })).toEqual(whole);
    });

    it("and gives them in half precision and in blocks", async () => {
      const dtypes = ["f16", ...(family === "gemma3" ? ["q8_0"] : [])] as CacheDtype[];
      for (const cacheDtype of dtypes) {
        const whole = await run({}, { ...WHOLE, cacheDtype });
        expect(await run({}, { contextLength: CONTEXT, promptChunkTokens: 5, cacheDtype })).toEqual(whole);
      }
    });

    it.each([1, 8])("also behind rejected guesses, %i at a time", async (draftTokens) => {
      const engine = await engineOf(bundle, { options: WHOLE });
      const prompt = text.slice(0, CONTEXT - STEPS);
      const expected = await greedy(engine, prompt, STEPS);
      await engine.close();
      const acceptedOf = async (draft: BundleIndex, options: Partial<EngineOptions>): Promise<number> => {
        const guessing = await speculativeOf([bundle, { options }], [draft, { options }], draftTokens);
        try {
          expect(await greedy(guessing, prompt, STEPS)).toEqual(expected);
          const { acceptedTokens, proposedTokens } = guessing.report().speculation!;
          return acceptedTokens / proposedTokens;
        } finally {
          await guessing.close();
        }
      };
      const ring = { contextLength: CONTEXT, promptChunkTokens: 1 };
      expect(await acceptedOf(bundle, ring)).toBe(1);
      for (const draft of [other, coarse]) {
        const accepted = await acceptedOf(draft, ring);
        expect(accepted).toBeLessThan(1);
        // A draft whose windows are damaged would guess worse.
        expect(accepted).toBe(await acceptedOf(draft, WHOLE));
      }
    });

    it("and counts no more than these", () => {
      const { attention, layerCount } = bundle.manifest.model;
      const rowLength = 2 * 4 * attention.keyValueHeadCount * attention.headDim;
      const windowed = attention.windowLayers?.filter(Boolean).length ?? layerCount;
      for (const [promptChunkTokens, together] of [
        [1, 8],
        [64, 64],
      ] as const) {
        const ring = WINDOW + together - 1;
        for (const contextLength of [CONTEXT, 100_000]) {
          const rows = windowed * ring + (layerCount - windowed) * contextLength;
          expect(cacheBytes(bundle, { contextLength, promptChunkTokens })).toBe(
            Math.ceil((rows * rowLength) / PAGE) * PAGE + layerCount * PAGE,
          );
        }
      }
      const short = layerCount * WINDOW * rowLength;
      expect(cacheBytes(bundle, { contextLength: WINDOW, promptChunkTokens: 64 })).toBe(
        Math.ceil(short / PAGE) * PAGE + layerCount * PAGE,
      );
    });
  });
}

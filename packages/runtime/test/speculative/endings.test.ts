import { join } from "node:path";
import { type BundleIndex, FlashlmError, type TokenEvent, type TokenGenerator } from "@flashlm/contracts";
import { planEngine } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, greedy, type Mix } from "../support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "../support/fixtures.js";
import { recipeOf, speculativeOf } from "../support/speculation.js";

const path = fixture("families/llama-relu");
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "no error",
    (error: unknown) => (FlashlmError.isInstance(error) ? error.code : String(error)),
  );
}

describe.skipIf(path === null)("speculation ends where plain decoding would", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  let expected: Expected;
  beforeAll(async () => {
    bundle = await bundleInto(path!, folder.path, "f32");
    expected = readJson<Expected>(join(path!, "expected.json"));
  });
  afterAll(folder.dispose);

  /** The same model drafts, so that everything is accepted and runs are as long as they can be. */
  const withEngine = async (
    mixes: { readonly target?: Mix; readonly draft?: Mix },
    draftTokens: number,
    work: (engine: TokenGenerator) => Promise<void>,
  ): Promise<void> => {
    const engine = await speculativeOf(
      [bundle, mixes.target ?? {}],
      [bundle, mixes.draft ?? {}],
      draftTokens,
    );
    try {
      await work(engine);
    } finally {
      await engine.close();
    }
  };

  const collect = async (
    engine: TokenGenerator,
    options: {
      readonly maxTokens: number;
      readonly stopTokens?: readonly number[];
      readonly signal?: AbortSignal;
    },
    onToken: (event: TokenEvent) => boolean = () => false,
  ): Promise<number[]> => {
    const tokens: number[] = [];
    const all = { sampling: GREEDY, stopTokens: [], ...options };
    for await (const event of engine.generate(expected.prompt, all)) {
      expect(event.positionIndex).toBe(expected.prompt.length + tokens.length);
      tokens.push(event.tokenId);
      if (onToken(event)) break;
    }
    return tokens;
  };

  it("at the token limit, whatever it is to the draft's length", async () => {
    await withEngine({}, 4, async (engine) => {
      for (const maxTokens of [0, 1, 2, 3, 4, 5, 6, 7, 11, 23])
        expect(await collect(engine, { maxTokens })).toEqual(expected.greedy.slice(0, maxTokens));
    });
  });

  it("before an end token inside an accepted run", async () => {
    await withEngine({}, 8, async (engine) => {
      for (const place of [1, 2, 5, 9, 30]) {
        const end = expected.greedy[place]!;
        const first = expected.greedy.indexOf(end);
        expect(await collect(engine, { maxTokens: 64, stopTokens: [end] })).toEqual(
          expected.greedy.slice(0, first),
        );
      }
    });
  });

  it("when the caller leaves or aborts inside an accepted run, and goes on afterwards", async () => {
    await withEngine({ target: { sparsity: "oracle" } }, 8, async (engine) => {
      let left = 4;
      expect(await collect(engine, { maxTokens: 64 }, () => --left === 0)).toEqual(
        expected.greedy.slice(0, 4),
      );
      const controller = new AbortController();
      const reason = new FlashlmError("ENGINE_ABORTED", "enough");
      left = 13;
      const aborted = collect(engine, { maxTokens: 64, signal: controller.signal }, () => {
        if (--left === 0) controller.abort(reason);
        return false;
      });
      expect(await codeOf(aborted)).toBe("ENGINE_ABORTED");
      expect(left).toBe(0);
      expect(await greedy(engine, expected.prompt, 64)).toEqual(expected.greedy.slice(0, 64));
    });
  });

  it("when a stop word is set between layers, of the target or of the draft", async () => {
    for (const which of ["target", "draft"] as const) {
      let left = 60;
      const stopping: Mix = { options: { shouldStop: () => left-- <= 0 } };
      await withEngine({ [which]: stopping }, 4, async (engine) => {
        expect(await codeOf(greedy(engine, expected.prompt, 128))).toBe("ENGINE_ABORTED");
        left = Number.POSITIVE_INFINITY;
        expect(await greedy(engine, expected.prompt, 16)).toEqual(expected.greedy.slice(0, 16));
      });
    }
  });

  it("at the end of the context, and goes on alone after that of the draft", async () => {
    const contextLength = 64;
    for (const draftContext of [256, 40, 21, 8]) {
      const mixes = {
        target: { options: { contextLength } },
        draft: { options: { contextLength: draftContext } },
      };
      await withEngine(mixes, 5, async (engine) => {
        const tokens = await greedy(engine, expected.prompt, 200);
        expect(tokens).toEqual(expected.greedy.slice(0, contextLength - expected.prompt.length + 1));
        const { proposedTokens } = engine.report().speculation!;
        expect(proposedTokens > 0).toBe(draftContext > expected.prompt.length);
      });
    }
  });

  it("also in the smallest memory that is given, with the draft's own limit", async () => {
    const whole = planEngine(recipeOf(bundle, {}).parts, { ...recipeOf(bundle, {}).options, draftTokens: 8 });
    const memoryBytes = Math.floor(0.75 * whole.totalBytes);
    const small = { sparsity: "oracle", options: { memoryBytes, promptChunkTokens: 1 } };
    await withEngine({ target: small, draft: small }, 8, async (engine) => {
      expect(await greedy(engine, expected.prompt, 128)).toEqual(expected.greedy.slice(0, 128));
      const rows = engine.report().memory;
      expect(rows.find(({ owner }) => owner === "speculation")?.plannedBytes).toBe(320 * (8 * 4 + 8));
      expect(rows.some(({ owner }) => owner === "draft: neuron slots")).toBe(true);
      expect(engine.mode.draft).toContain("8 tokens");
    });
  });

  it("scores a text like the target, and is busy or closed like it", async () => {
    const engine = await speculativeOf([bundle, {}], [bundle, {}], 2);
    const losses = await engine.score(expected.prompt);
    expect(losses.length).toBe(expected.prompt.length);
    const running = engine.generate(expected.prompt, { maxTokens: 8, sampling: GREEDY, stopTokens: [] });
    const iterator = running[Symbol.asyncIterator]();
    await iterator.next();
    expect(await codeOf(greedy(engine, expected.prompt, 1))).toBe("ENGINE_BUSY");
    await iterator.return?.();
    await engine.close();
    expect(await codeOf(greedy(engine, expected.prompt, 1))).toBe("ENGINE_CLOSED");
  });
});

describe.skipIf(path === null)("a draft that does not fit is refused", () => {
  const folder = temporaryFolder();
  afterAll(folder.dispose);

  it("other vocabularies, and lengths out of range", async () => {
    const bundle = await bundleInto(path!, folder.path, "f32");
    const { manifest } = bundle;
    const model = { ...manifest.model, vocabularySize: 319 };
    const other: BundleIndex = new Proxy(bundle, {
      get: (target, key) => (key === "manifest" ? { ...manifest, model } : Reflect.get(target, key, target)),
    });
    expect(await codeOf(speculativeOf([bundle, {}], [other, {}], 4))).toBe("ENGINE_DRAFT");
    for (const draftTokens of [0, 9, 1.5, Number.NaN])
      expect(await codeOf(speculativeOf([bundle, {}], [bundle, {}], draftTokens))).toBe("ENGINE_OPTION");
  });

  it("a sampler that only draws", async () => {
    const bundle = await bundleInto(path!, join(folder.path, "sampler"), "f32");
    const parts = { createSampler: () => ({ next: () => 1 }) };
    const engine = await speculativeOf([bundle, { parts }], [bundle, {}], 4);
    expect(await codeOf(greedy(engine, [1, 2, 3], 4))).toBe("ENGINE_OPTION");
    await engine.close();
  });
});

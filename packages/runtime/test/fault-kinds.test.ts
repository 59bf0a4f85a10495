import { join } from "node:path";
import { type BundleIndex, FlashlmError, type FlashReader, type TokenGenerator } from "@flashlm/contracts";
import {
  createFaultyReader,
  FAULT_KINDS,
  type FaultKind,
  openFlashReader,
  type ReaderBackend,
} from "@flashlm/flash-io";
import { parseSparsity } from "@flashlm/predictor";
import { planEngine } from "@flashlm/runtime";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, halfSlotsBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";
import { bundleWithHeads } from "./support/heads.js";
import { speculativeOf } from "./support/speculation.js";

const STEPS = 48;
const SEEDS = 4;
const FAULT_RATE = 0.02;
/** Proofs run these tests on the native backends, too. */
const BACKEND = (process.env.FLASHLM_FAULT_BACKEND ?? "node") as ReaderBackend;
const CODES: Record<FaultKind, string> = { error: "FLASH_IO", short: "FLASH_SHORT_READ", delay: "" };
const path = fixture("families/llama-relu");

/** Faults of one kind, from when it is armed on. */
class Trouble {
  armed = false;
  readonly #kind: FaultKind;
  readonly #seed: number;
  readonly #rate: number;

  constructor(kind: FaultKind, seed: number, rate = FAULT_RATE) {
    this.#kind = kind;
    this.#seed = seed;
    this.#rate = rate;
  }

  readonly openReader = async (paths: readonly string[]): Promise<FlashReader> => {
    const rate = (kind: FaultKind): number => (this.armed && kind === this.#kind ? this.#rate : 0);
    return createFaultyReader(await openFlashReader(paths, { backend: BACKEND }), {
      seed: this.#seed,
      get errorRate() {
        return rate("error");
      },
      get shortReadRate() {
        return rate("short");
      },
      get delayRate() {
        return rate("delay");
      },
    });
  };
}

describe.skipIf(path === null)("faults in the middle of a generation", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  let withHeads: BundleIndex;
  let expected: Expected;
  /** What the lossy heads give. */
  let lossyTokens: readonly number[];
  beforeAll(async () => {
    bundle = await bundleInto(path!, folder.path, "f32");
    withHeads = await bundleWithHeads(path!, folder.path);
    expected = readJson<Expected>(join(path!, "expected.json"));
    const engine = await engineOf(withHeads, { sparsity: "lowrank" });
    lossyTokens = await greedy(engine, expected.prompt, STEPS);
    await engine.close();
  });
  afterAll(folder.dispose);

  /** A part of the slots, so that every token reads. */
  const someMemory = (mix: Mix, of: BundleIndex = bundle): Mix => {
    const options = { memoryBytes: Number.POSITIVE_INFINITY, contextLength: 256, threadCount: 1 };
    return { ...mix, options: { ...options, memoryBytes: halfSlotsBytes(partsOf(of, mix), options) } };
  };
  /** One layer at a time: attention is streamed, too. */
  const leastMemory = (mix: Mix): Mix => {
    const options = { contextLength: 256, threadCount: 1 };
    try {
      planEngine(partsOf(bundle, mix), { ...options, memoryBytes: 1 });
    } catch (error) {
      if (FlashlmError.isInstance(error))
        return { ...mix, options: { ...options, memoryBytes: 1 + Number(error.details.missingBytes) } };
    }
    throw new Error("a budget of one byte was accepted");
  };

  const engines: Record<string, (parts: Mix["parts"]) => Promise<TokenGenerator>> = {
    dense: (parts) => engineOf(bundle, someMemory({ parts: parts! })),
    "only active neurons": (parts) => engineOf(bundle, someMemory({ sparsity: "oracle", parts: parts! })),
    "the least memory": (parts) => engineOf(bundle, leastMemory({ sparsity: "oracle", parts: parts! })),
    "a verified draft": (parts) =>
      speculativeOf([bundle, someMemory({ sparsity: "oracle", parts: parts! })], [bundle, {}], 4),
    "a draft that fails": (parts) => speculativeOf([bundle, {}], [bundle, someMemory({ parts: parts! })], 4),
  };

  const lookAhead = { predictor: parseSparsity("lowrank", { lookAhead: true }) };
  const lossyEngines: typeof engines = {
    "look-ahead": (parts) =>
      engineOf(withHeads, someMemory({ parts: { ...parts, ...lookAhead } }, withHeads)),
    "look-ahead and a verified draft": (parts) =>
      speculativeOf(
        [withHeads, someMemory({ parts: { ...parts, ...lookAhead } }, withHeads)],
        [withHeads, { sparsity: "lowrank" }],
        4,
      ),
  };

  /** Generates; trouble begins after some tokens. Returns the tokens so far and how it ended. */
  const generate = async (
    engine: TokenGenerator,
    trouble: Trouble,
  ): Promise<{ tokens: number[]; code: string }> => {
    const tokens: number[] = [];
    const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
    try {
      for await (const event of engine.generate(expected.prompt, {
        maxTokens: STEPS,
        sampling,
        stopTokens: [],
      })) {
        tokens.push(event.tokenId);
        trouble.armed ||= tokens.length === 5;
      }
      return { tokens, code: "" };
    } catch (error) {
      return { tokens, code: FlashlmError.isInstance(error) ? error.code : String(error) };
    } finally {
      trouble.armed = false;
    }
  };

  for (const [name, create] of Object.entries({ ...engines, ...lossyEngines })) {
    const wanted = (count: number): readonly number[] =>
      (name in engines ? expected.greedy : lossyTokens).slice(0, count);
    for (const kind of FAULT_KINDS) {
      it(`${kind}, ${name}: a typed error or the right tokens, and the next try succeeds`, async () => {
        let endedCount = 0;
        for (let seed = 1; seed <= SEEDS; seed++) {
          const trouble = new Trouble(kind, seed);
          const engine = await create({ openReader: trouble.openReader });
          try {
            const { tokens, code } = await generate(engine, trouble);
            expect(tokens).toEqual(wanted(tokens.length));
            if (code === "") expect(tokens.length).toBe(STEPS);
            else expect(code).toBe(CODES[kind]);
            endedCount += code === "" ? 0 : 1;
            expect(await greedy(engine, expected.prompt, STEPS)).toEqual(wanted(STEPS));
            if (name.startsWith("look-ahead"))
              expect(engine.report().lookAhead!.recordCount).toBeGreaterThan(0);
          } finally {
            await engine.close();
          }
        }
        // The faults were there.
        if (kind !== "delay") expect(endedCount).toBeGreaterThan(0);
      });
    }
  }

  it("two engines on one thread, in turns, give what each gives alone", async () => {
    const mixes = [{ sparsity: "oracle" }, { sparsity: "dense" }].map((mix) => someMemory(mix));
    const both = await Promise.all(mixes.map((mix) => engineOf(bundle, mix)));
    try {
      const results = await Promise.all(both.map((engine) => greedy(engine, expected.prompt, 128)));
      for (const tokens of results) expect(tokens).toEqual(expected.greedy.slice(0, 128));
    } finally {
      for (const engine of both) await engine.close();
    }
  });

  it("trouble of one engine is no other one's", async () => {
    const trouble = new Trouble("error", 2, 0.5);
    const failing = await engineOf(bundle, someMemory({ parts: { openReader: trouble.openReader } }));
    const sound = await engineOf(bundle, someMemory({ sparsity: "oracle" }));
    try {
      const [failed, tokens] = await Promise.all([
        generate(failing, trouble),
        greedy(sound, expected.prompt, 128),
      ]);
      expect(failed.code).toBe("FLASH_IO");
      expect(tokens).toEqual(expected.greedy.slice(0, 128));
    } finally {
      await failing.close();
      await sound.close();
    }
  });
});

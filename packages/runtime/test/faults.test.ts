import { cpSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openBundle } from "@flashlm/bundler";
import { type BundleIndex, FlashlmError, type FlashReader, type TokenGenerator } from "@flashlm/contracts";
import { createFaultyReader, createNodeReader } from "@flashlm/flash-io";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, greedy, leastBytes, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const path = fixture("families/llama-relu");
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no error",
    (error: unknown) => (FlashlmError.isInstance(error) ? error.code : String(error)),
  );

describe.skipIf(path === null)("faults in mid-run", () => {
  const folder = temporaryFolder();
  let bundle: BundleIndex;
  let expected: Expected;
  beforeAll(async () => {
    bundle = await bundleInto(path!, folder.path, "f32");
    expected = readJson<Expected>(join(path!, "expected.json"));
  });
  afterAll(folder.dispose);

  const closing = async <T>(
    engine: TokenGenerator,
    work: (engine: TokenGenerator) => Promise<T>,
  ): Promise<T> => {
    try {
      return await work(engine);
    } finally {
      await engine.close();
    }
  };

  it("a faulty device ends in a typed error or in the right tokens, never in wrong ones", async () => {
    let failures = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const openReader = async (paths: readonly string[]) =>
        createFaultyReader(await createNodeReader(paths), {
          seed,
          errorRate: seed % 2 ? 0.02 : 0,
          shortReadRate: seed % 2 ? 0 : 0.02,
        });
      const outcome = engineOf(bundle, { sparsity: "oracle", parts: { openReader } }).then((engine) =>
        closing(engine, (open) => greedy(open, expected.prompt, 48)),
      );
      const code = await codeOf(outcome);
      if (code === "no error") expect(await outcome).toEqual(expected.greedy.slice(0, 48));
      else {
        expect(["FLASH_IO", "FLASH_SHORT_READ"]).toContain(code);
        failures++;
      }
    }
    expect(failures).toBeGreaterThan(0);
  });

  it("refused sampling options leave the engine free for the next run", async () => {
    const engine = await engineOf(bundle, {});
    const sampling = { temperature: -1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
    await closing(engine, async (open) => {
      const refused = open.generate(expected.prompt, { maxTokens: 4, sampling, stopTokens: [] });
      expect(await codeOf(refused[Symbol.asyncIterator]().next())).toBe("ENGINE_OPTION");
      expect(await greedy(open, expected.prompt, 8)).toEqual(expected.greedy.slice(0, 8));
    });
  });

  it("a flipped byte in a record is an error that names the record", async () => {
    const damaged = join(folder.path, "damaged");
    cpSync(bundle.path, damaged, { recursive: true });
    const file = join(damaged, "neurons.safetensors");
    const at = bundle.manifest.layers[1]!.offsetBytes + 5 * bundle.manifest.record.strideBytes + 40;
    const byte = readFileSync(file)[at]!;
    writeSync(openSync(file, "r+"), Uint8Array.of(byte ^ 1), 0, 1, at);
    const engine = await engineOf(await openBundle(damaged), {});
    expect(await closing(engine, (open) => codeOf(greedy(open, expected.prompt, 8)))).toBe("BUNDLE_CHECKSUM");
  });

  it("a flipped byte in an attention weight is an error when it is loaded", async () => {
    const damaged = join(folder.path, "damaged-resident");
    cpSync(bundle.path, damaged, { recursive: true });
    const file = join(damaged, "resident.safetensors");
    const bytes = readFileSync(file);
    const at = bundle.tensor("layers.2.attention.value.weight").offsetBytes + 12;
    bytes[at] = bytes[at]! ^ 0x10;
    writeFileSync(file, bytes);
    expect(await codeOf(openBundle(damaged).then((open) => engineOf(open, {})))).toBe("BUNDLE_CHECKSUM");
  });

  it("an engine goes on after an abandoned generation, and refuses what it cannot do", async () => {
    const engine = await engineOf(bundle, { options: { contextLength: 64 } });
    await closing(engine, async (open) => {
      const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
      for await (const event of open.generate(expected.prompt, { maxTokens: 20, sampling, stopTokens: [] })) {
        if (event.positionIndex > 26) break;
      }
      expect(await greedy(open, expected.prompt, 16)).toEqual(expected.greedy.slice(0, 16));
      expect(await codeOf(greedy(open, new Array<number>(65).fill(1), 1))).toBe("ENGINE_CONTEXT_FULL");
      expect(await codeOf(greedy(open, [], 1))).toBe("ENGINE_OPTION");
      expect(await codeOf(greedy(open, [100_000], 1))).toBe("ENGINE_OPTION");
      expect((await greedy(open, expected.prompt, 100)).length).toBe(64 - expected.prompt.length + 1);
    });
    expect(await codeOf(greedy(engine, expected.prompt, 1))).toBe("ENGINE_CLOSED");
  });

  it.each(["dense", "oracle"])(
    "a stop word ends the work, and nothing more is read: %s",
    async (sparsity) => {
      let asksLeft = Number.POSITIVE_INFINITY;
      let submittedLate = 0;
      const openReader = async (paths: readonly string[]): Promise<FlashReader> => {
        const reader = await createNodeReader(paths);
        const submit = reader.submit.bind(reader);
        reader.submit = (...reads) => {
          if (asksLeft < 0) submittedLate++;
          return submit(...reads);
        };
        return reader;
      };
      const memoryBytes = leastBytes(partsOf(bundle, { sparsity }), 256);
      const options = { shouldStop: () => --asksLeft < 0, memoryBytes, contextLength: 256 };
      const engine = await engineOf(bundle, { sparsity, options, parts: { openReader } });
      await closing(engine, async (open) => {
        for (let asks = 1; asks < 400; asks += 13) {
          asksLeft = asks;
          expect(await codeOf(greedy(open, expected.prompt, 128))).toBe("ENGINE_ABORTED");
        }
        expect(submittedLate).toBe(0);
        asksLeft = Number.POSITIVE_INFINITY;
        expect(await greedy(open, expected.prompt, 16)).toEqual(expected.greedy.slice(0, 16));
      });
    },
  );

  it("a budget below one layer is refused with the missing bytes", async () => {
    expect(await codeOf(engineOf(bundle, { options: { memoryBytes: 100_000 } }))).toBe("BUDGET_TOO_SMALL");
  });

  it("memory stays what it was at the start", async () => {
    const engine = await engineOf(bundle, { sparsity: "oracle" });
    await closing(engine, async (open) => {
      await greedy(open, expected.prompt, 16);
      const before = process.memoryUsage().arrayBuffers;
      await greedy(open, expected.prompt, 200);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    });
  });
});

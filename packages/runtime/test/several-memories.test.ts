import { join } from "node:path";
import { ReadBatch } from "@flashlm/contracts";
import { createMemoryReader } from "@flashlm/flash-io";
import { createWasmKernels, kernelOverheadBytes } from "@flashlm/kernels";
import { type EngineParts, planEngine } from "@flashlm/runtime";
import { afterAll, describe, expect, it } from "vitest";
import { attachMemory, memoryCopy } from "../src/memory-windows.js";
import { bundleInto, engineOf, greedy, leastBytes, type Mix, partsOf } from "./support/engines.js";
import { type Expected, fixture, readJson, temporaryFolder } from "./support/fixtures.js";

const CONTEXT = 160;
/** Small enough for every one of these models to need several. */
const SEGMENT_BYTES = 2 ** 19;

type Kernels = Pick<EngineParts, "createKernels" | "kernelOverheadBytes">;

/** Kernels over several small memories; tells how many. */
function severalMemories(placement: "sized" | "scattered", counts: number[]): Kernels {
  return {
    createKernels: async (options) => {
      const set = await createWasmKernels({ ...options, segmentBytes: SEGMENT_BYTES, placement });
      counts.push(set.memory.arenas[0]!.lengthBytes / SEGMENT_BYTES);
      return set;
    },
    kernelOverheadBytes: (needs) => kernelOverheadBytes({ ...needs, segmentBytes: SEGMENT_BYTES }),
  };
}

/** Budgets with all weights resident, with some streamed, and with all of them. */
function budgetsOf(parts: EngineParts): number[] {
  const most = planEngine(parts, {
    memoryBytes: Infinity,
    contextLength: CONTEXT,
    threadCount: 2,
  }).totalBytes;
  const least = leastBytes(parts, CONTEXT);
  return [Infinity, Math.floor((most + least) / 2), least];
}

for (const family of ["llama-relu", "llama", "opt", "gemma2"]) {
  const path = fixture(`families/${family}`);
  describe.skipIf(path === null)(`${family} with kernels over several memories`, () => {
    const folder = temporaryFolder();
    afterAll(folder.dispose);
    it.each(["sized", "scattered"] as const)("gives the reference's tokens, %s", async (placement) => {
      const bundle = await bundleInto(path!, join(folder.path, placement), "f32");
      const { prompt, greedy: expected } = readJson<Expected>(join(path!, "expected.json"));
      const counts: number[] = [];
      const mix: Mix = {
        parts: severalMemories(placement, counts),
        sparsity: family.includes("relu") || family === "opt" ? "oracle" : "dense",
      };
      for (const memoryBytes of budgetsOf(partsOf(bundle, mix))) {
        const engine = await engineOf(bundle, { ...mix, options: { memoryBytes, contextLength: CONTEXT } });
        try {
          expect(await greedy(engine, prompt, 128)).toEqual(expected);
        } finally {
          await engine.close();
        }
      }
      expect(Math.min(...counts)).toBeGreaterThan(2);
    });
  });
}

it("reads into every memory and copies between them", async () => {
  const memoryBytes = 3 * SEGMENT_BYTES;
  const options = { threadCount: 1, columnCountMax: 64, memoryBytes };
  const set = await createWasmKernels({ ...options, segmentBytes: SEGMENT_BYTES });
  const { memory } = set;
  const file = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 31 + (index >> 8)) & 255);
  const inner = await createMemoryReader([{ path: "file", bytes: file }]);
  const reader = attachMemory(inner, memory);
  expect(reader).not.toBe(inner);
  const copy = memoryCopy(memory);
  const targets = Array.from({ length: 10 }, () => memory.allocate(100_000, 4096));
  expect(new Set(targets.map(({ offsetBytes }) => Math.floor(offsetBytes / SEGMENT_BYTES))).size).toBe(3);
  for (const [i, target] of targets.entries()) {
    const batch = new ReadBatch(1);
    batch.push(0, i, 90_000, target);
    reader.submit(batch).waitAll();
    expect(Buffer.compare(memory.bytes(target, 90_000), file.subarray(i, i + 90_000))).toBe(0);
    copy(targets[0]!.offsetBytes, target.offsetBytes, 90_000);
    expect(Buffer.compare(memory.bytes(targets[0]!, 90_000), file.subarray(i, i + 90_000))).toBe(0);
  }
  await reader.close();
  await set.close();
});

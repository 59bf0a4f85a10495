import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/sources/index.js";
import { hasShared, SHARED } from "./fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "flashlm-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

const edits = (headerBytes: number): fc.Arbitrary<{ at: number; bytes: number[] }[]> =>
  fc.array(
    fc.record({
      at: fc.nat(headerBytes - 1),
      bytes: fc.oneof(
        fc.array(fc.nat(255), { minLength: 1, maxLength: 8 }),
        fc.constant<number[]>([255, 255, 255, 255, 255, 255, 255, 127]),
        fc.constant<number[]>([0, 0, 0, 0, 0, 1, 0, 0]),
      ),
    }),
    { maxLength: 4 },
  );

async function opensOrRefuses(path: string): Promise<void> {
  try {
    const checkpoint = await openCheckpoint(path);
    for (const [name, { shape }] of checkpoint.tensors)
      checkpoint.readRows(name, 0, 1, new Float32Array(shape.at(-1)!));
    checkpoint.close();
  } catch (error) {
    if (!FlashlmError.isInstance(error)) throw error;
    expect(error.code).toMatch(/^CHECKPOINT_/);
  }
}

function mutate(original: Buffer, changes: { at: number; bytes: number[] }[], keep: number): Buffer {
  const copy = Buffer.from(original.subarray(0, Math.min(original.length, keep)));
  for (const { at, bytes } of changes) {
    for (const [index, byte] of bytes.entries()) if (at + index < copy.length) copy[at + index] = byte;
  }
  return copy;
}

describe.skipIf(!hasShared)("hostile files", () => {
  it.each(["llama-F32.gguf", "types-Q3_K_M.gguf"])(
    "%s, mutated or cut, opens or is refused",
    async (name) => {
      const original = readFileSync(`${SHARED}fixtures/gguf/${name}`);
      const path = join(folder, "fuzz.gguf");
      const before = process.memoryUsage().rss;
      const keep = fc.oneof({ weight: 4, arbitrary: fc.constant(original.length) }, fc.nat(original.length));
      await fc.assert(
        fc.asyncProperty(edits(2400), keep, async (changes, kept) => {
          writeFileSync(path, mutate(original, changes, kept));
          await opensOrRefuses(path);
        }),
        { numRuns: 250 },
      );
      expect(process.memoryUsage().rss - before).toBeLessThan(400 * 2 ** 20);
    },
  );

  it("safetensors and config, mutated or cut, open or are refused", async () => {
    const source = `${SHARED}fixtures/families/llama/`;
    const weights = readFileSync(`${source}model.safetensors`);
    const config = readFileSync(`${source}config.json`);
    const keep = fc.oneof({ weight: 4, arbitrary: fc.constant(weights.length) }, fc.nat(weights.length));
    await fc.assert(
      fc.asyncProperty(
        edits(3080),
        edits(config.length),
        keep,
        fc.boolean(),
        async (a, b, kept, isConfig) => {
          writeFileSync(join(folder, "model.safetensors"), mutate(weights, isConfig ? [] : a, kept));
          writeFileSync(join(folder, "config.json"), mutate(config, isConfig ? b : [], config.length));
          await opensOrRefuses(folder);
        },
      ),
      { numRuns: 250 },
    );
  });
});

import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
// The built package, because the filling thread is a file of it.
import {
  convertTokenizer,
  openCheckpoint,
  SYNTHETIC_PRESETS,
  type SyntheticOptions,
  writeSynthetic,
} from "@flashlm/bundler";
import { afterAll, describe, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "flashlm-synthetic-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, options: Partial<SyntheticOptions> = {}) =>
  writeSynthetic({ preset: "tiny", seed: 7, outPath: join(folder, name), ...options });
const digestOf = (...path: string[]): string =>
  createHash("sha256")
    .update(readFileSync(join(folder, ...path)))
    .digest("hex");
/** Mean and standard deviation in double precision. */
function momentsOf(values: Float32Array): { mean: number; deviation: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(square) };
}

describe("synthetic checkpoints", () => {
  test.each(SYNTHETIC_PRESETS.filter((name) => name.startsWith("tiny")))(
    "%s opens as a checkpoint, with a tokenizer",
    async (preset) => {
      const { path } = await write(preset, { preset });
      const checkpoint = await openCheckpoint(path);
      try {
        expect(checkpoint.name).toBe(`${preset} (synthetic)`);
        expect(checkpoint.model).toMatchObject({ hiddenSize: 256, layerCount: 4, vocabularySize: 4096 });
        expect(checkpoint.model.ffn.neuronCount).toBe(2048);
        const { files } = await convertTokenizer(checkpoint);
        expect(files.map((file) => file.name)).toContain("tokenizer.json");
      } finally {
        checkpoint.close();
      }
      expect(readFileSync(join(path, "README.md"), "utf8")).toContain("This is not a language model");
      const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8"));
      expect(config.flashlm_synthetic).toMatchObject({ preset, seed: 7 });
      expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
    },
  );

  test("weights are normal with the deviation of their place; rows are unrelated", async () => {
    const { path } = await write("moments", { dtype: "f32" });
    const checkpoint = await openCheckpoint(path);
    const up = new Float32Array(2048 * 256);
    const embedding = new Float32Array(4096 * 256);
    checkpoint.readRows("layers.1.ffn.up.weight", 0, 2048, up);
    checkpoint.readRows("embedding.weight", 0, 4096, embedding);
    checkpoint.close();
    // The first column is the constant element, which plain FFNs with biases do not read.
    const own = up.filter((_, index) => index % 256 !== 0);
    expect(up.filter((_, index) => index % 256 === 0).every((value) => value === 0)).toBe(true);
    const { mean, deviation } = momentsOf(own);
    expect(Math.abs(mean)).toBeLessThan(4 / 16 / Math.sqrt(own.length));
    expect(deviation).toBeCloseTo(1 / 16, 3);
    const fourth = own.reduce((sum, value) => sum + (value / deviation) ** 4, 0) / own.length;
    expect(fourth).toBeCloseTo(3, 1);
    expect(momentsOf(embedding).deviation).toBeCloseTo(0.05, 2);
    let largest = 0;
    for (let row = 1; row < 500; row++) {
      let dot = 0;
      for (let column = 1; column < 256; column++) dot += up[column]! * up[row * 256 + column]!;
      largest = Math.max(largest, Math.abs(dot));
    }
    // Each product is normal with a deviation of 1/16; of 500 the largest is near 3.
    expect(largest * 16).toBeLessThan(5);
  });

  test("the same seed gives the same bytes whatever the threads and shards, another seed others", async () => {
    await write("one", { threadCount: 1 });
    await write("three", { threadCount: 3 });
    await write("other", { seed: 8 });
    expect(digestOf("one", "model.safetensors")).toBe(digestOf("three", "model.safetensors"));
    expect(digestOf("one", "tokens.json")).toBe(digestOf("three", "tokens.json"));
    expect(digestOf("one", "model.safetensors")).not.toBe(digestOf("other", "model.safetensors"));
    const { path } = await write("shards", { shardBytesMax: 4_000_000 });
    expect(readdirSync(path).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2);
    const [whole, sharded] = [await openCheckpoint(join(folder, "one")), await openCheckpoint(path)];
    for (const [name, { shape }] of whole.tensors) {
      const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
      const others = new Float32Array(values.length);
      const rows = shape.length === 1 ? 1 : shape[0]!;
      whole.readRows(name, 0, rows, values);
      sharded.readRows(name, 0, rows, others);
      expect(Buffer.from(others.buffer).equals(Buffer.from(values.buffer))).toBe(true);
    }
    whole.close();
    sharded.close();
  });

  test.each(["f16", "f32", "q8_0"] as const)(
    "GGUF of a Llama shape as %s opens with its tokenizer",
    async (dtype) => {
      const { path } = await write(`gguf-${dtype}`, { preset: "tiny-llama", format: "gguf", dtype });
      const checkpoint = await openCheckpoint(path);
      try {
        expect(checkpoint.name).toMatch(/\(synthetic\)$/);
        expect(checkpoint.model.ffn.activation.name).toBe("silu");
        const gate = new Float32Array(64 * 256);
        checkpoint.readRows("layers.3.ffn.gate.weight", 0, 64, gate);
        // The column of thresholds aside, every weight has the deviation of its place.
        const { deviation } = momentsOf(gate.filter((_, index) => index % 256 >= 32));
        expect(Math.abs(deviation * 16 - 1)).toBeLessThan(0.03);
        expect((await convertTokenizer(checkpoint)).files).toHaveLength(2);
      } finally {
        checkpoint.close();
      }
    },
  );

  test("refuses a folder that exists, options that do not fit, and stops when told to", async () => {
    await expect(writeSynthetic({ preset: "tiny", seed: 1, outPath: folder })).rejects.toMatchObject({
      code: "SYNTHETIC_WRITE",
    });
    await expect(write("no", { preset: "opt-175b" })).rejects.toMatchObject({ code: "SYNTHETIC_OPTION" });
    await expect(write("no", { format: "gguf" })).rejects.toMatchObject({ code: "SYNTHETIC_OPTION" });
    await expect(write("no", { dtype: "q8_0" })).rejects.toMatchObject({ code: "SYNTHETIC_OPTION" });
    await expect(write("no", { seed: 0.5 })).rejects.toMatchObject({ code: "SYNTHETIC_OPTION" });
    for (const threadCount of [0, 65, 1.5])
      await expect(write("no", { threadCount })).rejects.toMatchObject({ code: "SYNTHETIC_OPTION" });
    await expect(write("no", { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(existsSync(join(folder, "no"))).toBe(false);
    expect(existsSync(join(folder, "no.partial"))).toBe(false);
  });
});

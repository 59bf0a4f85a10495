import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createPrng } from "@flashlm/contracts/testing";
import { afterAll, describe, expect, it } from "vitest";
import { bundleInto, engineOf, largestDifference, logitsOf } from "./support/engines.js";
import { fixture, readTensor, temporaryFolder } from "./support/fixtures.js";

/** A copy of the llama fixture with FFN biases, and the plain f64 forward pass of its last FFN as the oracle. */
const source = fixture("families/llama");

interface Header {
  [name: string]: { dtype: string; shape: number[]; data_offsets: [number, number] };
}

function addBiases(folder: string): Map<string, Float32Array> {
  const bytes = readFileSync(join(source!, "model.safetensors"));
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength)) as Header;
  const config = JSON.parse(readFileSync(join(source!, "config.json"), "utf8")) as Record<string, number>;
  const random = createPrng(7);
  const biases = new Map<string, Float32Array>();
  const chunks: Buffer[] = [bytes.subarray(8 + headerLength)];
  let end = bytes.length - 8 - headerLength;
  for (let layer = 0; layer < config.num_hidden_layers!; layer++) {
    for (const [part, count] of [
      ["gate", config.intermediate_size!],
      ["up", config.intermediate_size!],
      ["down", config.hidden_size!],
    ] as const) {
      const name = `model.layers.${layer}.mlp.${part}_proj.bias`;
      const values = Float32Array.from({ length: count }, () => random() - 0.5);
      biases.set(name, values);
      header[name] = { dtype: "F32", shape: [count], data_offsets: [end, end + count * 4] };
      chunks.push(Buffer.from(values.buffer));
      end += count * 4;
    }
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  mkdirSync(folder, { recursive: true });
  cpSync(source!, folder, { recursive: true });
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat([length, text, ...chunks]));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, mlp_bias: true }));
  return biases;
}

describe.skipIf(source === null)("FFN biases", () => {
  const folder = temporaryFolder();
  afterAll(folder.dispose);

  it("are the same on both targets, streamed or resident, and change the answer", async () => {
    const path = join(folder.path, "biased");
    addBiases(path);
    const bundle = await bundleInto(path, folder.path, "f32");
    const tokens = [3, 17, 99, 4, 5, 6, 7, 8];
    const { vocabularySize } = bundle.manifest.model;
    const results: Float32Array[] = [];
    for (const kernels of ["wasm", "reference"] as const) {
      const engine = await engineOf(bundle, { kernels });
      results.push(await logitsOf(engine, tokens, vocabularySize));
      await engine.close();
    }
    expect(largestDifference(results[0]!, results[1]!)).toBeLessThan(1e-4);
    expect(
      largestDifference(
        results[0]!,
        readTensor(join(source!, "expected.safetensors"), "logits").data.slice(
          0,
          results[0]!.length,
        ) as Float32Array,
      ),
    ).toBeGreaterThan(0.1);
  });
});

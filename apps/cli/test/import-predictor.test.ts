import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixture, flashlm, readFloats, temporaryFolder } from "./support/cli.js";

const model = fixture("families/llama-relu");
const home = temporaryFolder();
afterAll(home.dispose);

type Tensors = Record<string, { shape: number[]; values: Float32Array }>;

/** A safetensors file of f32 tensors, from the format's description. */
function writeSafetensors(path: string, tensors: Tensors): void {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const begin = end;
      end += values.byteLength;
      return [name, { dtype: "F32", shape, data_offsets: [begin, end] }];
    }),
  );
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const data = Object.values(tensors).map(({ values }) => Buffer.from(values.buffer));
  writeFileSync(path, Buffer.concat([length, text, ...data]));
}

/**
 * Heads that know the answer: with `first = [D; -D]` and `second = [G, -G]`, G the gate and D diagonal, `second * relu(first * x)` is `G * D * x`. On the
 * FFN's normed input D is 1; on the residual stream it is the norm's weight, so that the score is the gate's times the root mean square.
 */
function knowingHeads(checkpoint: string, layerCount: number, onResidual: boolean): Tensors {
  const path = join(checkpoint, "model.safetensors");
  const tensors: Tensors = {};
  for (let layer = 0; layer < layerCount; layer++) {
    const gate = readFloats(path, `model.layers.${layer}.mlp.gate_proj.weight`);
    const norm = readFloats(path, `model.layers.${layer}.post_attention_layernorm.weight`).values;
    const [rows, columns] = gate.shape as [number, number];
    const first = new Float32Array(2 * columns * columns);
    for (let row = 0; row < 2 * columns; row++) {
      const column = row % columns;
      first[row * columns + column] = (row < columns ? 1 : -1) * (onResidual ? norm[column]! : 1);
    }
    const second = Float32Array.from({ length: rows * 2 * columns }, (_, at) => {
      const [row, column] = [Math.floor(at / (2 * columns)), at % (2 * columns)];
      const value = gate.values[row * columns + (column % columns)]!;
      return column < columns ? value : -value;
    });
    tensors[`blk.${layer}.fc1.weight`] = { shape: [2 * columns, columns], values: first };
    tensors[`blk.${layer}.fc2.weight`] = { shape: [rows, 2 * columns], values: second };
  }
  return tensors;
}

describe.skipIf(model === null)("import-predictor", () => {
  const bundle = join(home.path, "bundle");
  const heads = join(home.path, "heads.safetensors");
  const common = ["--kernels", "wasm", "--threads", "1", "--json"];
  let layerCount = 0;

  beforeAll(async () => {
    const made = await flashlm(home.path, ["bundle", model!, "--out", bundle, "--dtype", "f32"]);
    expect(made.code, made.stderr).toBe(0);
    const { stdout } = await flashlm(home.path, ["inspect", bundle, "--json"]);
    layerCount = JSON.parse(stdout).model.layerCount;
  }, 60_000);

  it.each([
    ["the FFN's normed input", false, ["--input", "normed"]],
    ["the residual stream, as PowerInfer's do", true, []],
  ])(
    "heads that compute the gate from %s predict what fires",
    async (_, onResidual, input) => {
      writeSafetensors(heads, knowingHeads(model!, layerCount, onResidual));
      const made = await flashlm(home.path, [
        "import-predictor",
        bundle,
        "--from",
        heads,
        ...input,
        "--json",
      ]);
      expect(made.code, made.stderr).toBe(0);
      expect(JSON.parse(made.stdout)).toMatchObject({ activation: "relu", threshold: 0 });
      const tokens = Array.from({ length: 64 }, (_, index) => (index * 37 + 11) % 250).join(",");
      const run = await flashlm(home.path, [
        ...["eval", bundle, "--tokens", tokens, "--sparsity", "lowrank", ...common],
      ]);
      expect(run.code, run.stderr).toBe(0);
      const { layers, nllChange } = JSON.parse(run.stdout);
      expect(layers).toHaveLength(layerCount);
      for (const { activeShare, falseNegatives, falsePositives } of layers) {
        expect(activeShare).toBeGreaterThan(0.05);
        // Halves round: what stands next to 0 may fall to the other side.
        expect(falseNegatives).toBeLessThan(0.005);
        expect(falsePositives).toBeLessThan(0.005);
      }
      expect(Math.abs(nllChange)).toBeLessThan(1e-4);
    },
    60_000,
  );

  it("refuses a missing bundle and missing heads with codes", async () => {
    const missing = await flashlm(home.path, ["import-predictor", join(home.path, "no"), "--from", heads]);
    expect(missing.stderr).toContain("[BUNDLE_NOT_FOUND]");
    const absent = await flashlm(home.path, ["import-predictor", bundle, "--from", join(home.path, "no")]);
    expect(absent.stderr).toContain("[CHECKPOINT_NOT_FOUND]");
  });
});

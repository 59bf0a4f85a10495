import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type BundleIndex, rowBytes, type WeightDtype } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { decodeRow, isBundle, openBundle, verifyBundle } from "../../src/index.js";
import golden from "./golden.json" with { type: "json" };
import { seededCheckpoint, withFolder, writeSeeded } from "./seeded.js";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
const HIDDEN_SIZE = 64;
const NEURON_COUNT = 37;

/** Largest error that a dtype may make on a row: half a step of its grid at the row's largest weight, and its scale's rounding to f16. */
function tolerance(dtype: WeightDtype, row: Float32Array): number {
  const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (dtype === "f32") return 0;
  if (dtype === "f16") return largest * 2 ** -11;
  if (dtype === "bf16") return largest * 2 ** -8;
  // Steps of a fifteenth of the range, which is at most twice the largest weight; the minimum is rounded to f16 too.
  if (dtype === "q4_1") return largest * (1 / 15 + 2 ** -9);
  // q4_0 reaches from -8 to 7 steps: the weight opposite to the extreme one loses up to a whole step.
  return dtype === "q8_0" ? largest * (0.5 / 127 + 2 ** -10) : largest * (1 / 8 + 2 ** -10);
}

function expectClose(dtype: WeightDtype, bytes: Uint8Array, wanted: Float32Array): void {
  const found = new Float32Array(wanted.length);
  decodeRow(dtype, bytes, found);
  const limit = tolerance(dtype, wanted);
  for (const [index, value] of wanted.entries()) {
    if (!(Math.abs(found[index]! - value) <= limit))
      expect.fail(`${dtype} ${index}: ${found[index]} for ${value}, within ${limit}`);
  }
}

function sourceVector(
  values: ReadonlyMap<string, Float32Array>,
  layer: number,
  part: string,
  neuron: number,
): Float32Array {
  const weights = values.get(`layers.${layer}.ffn.${part}.weight`)!;
  if (part !== "down") return weights.slice(neuron * HIDDEN_SIZE, (neuron + 1) * HIDDEN_SIZE);
  return Float32Array.from({ length: HIDDEN_SIZE }, (_value, row) => weights[row * NEURON_COUNT + neuron]!);
}

function checkRecords(index: BundleIndex, values: ReadonlyMap<string, Float32Array>): void {
  const file = readFileSync(index.filePaths[1]!);
  for (let layer = 0; layer < 2; layer++) {
    expect([...index.neuronOrder(layer)]).toEqual(
      Array.from({ length: NEURON_COUNT }, (_value, neuron) => neuron),
    );
    for (let neuron = 0; neuron < NEURON_COUNT; neuron++) {
      const { offsetBytes } = index.neuronExtent(layer, neuron);
      for (const part of index.manifest.record.parts) {
        const start = offsetBytes + part.offsetBytes;
        expectClose(
          part.dtype,
          file.subarray(start, start + part.lengthBytes),
          sourceVector(values, layer, part.part, neuron),
        );
      }
    }
  }
}

function predictorRow(values: ReadonlyMap<string, Float32Array>, name: string, row: number): Float32Array {
  const layer = Number(name.split(".")[1]);
  const part = name.split(".")[3]!;
  if (name.endsWith(".down_norm")) {
    const norm = (neuron: number): number => Math.hypot(...sourceVector(values, layer, "down", neuron));
    return Float32Array.from({ length: NEURON_COUNT }, (_value, neuron) => norm(neuron));
  }
  return sourceVector(values, layer, part, row);
}

function checkTensors(index: BundleIndex, values: ReadonlyMap<string, Float32Array>): void {
  for (const tensor of index.manifest.tensors) {
    const file = readFileSync(index.filePaths[tensor.fileIndex]!);
    const stride = rowBytes(tensor.dtype, tensor.columnCount);
    for (let row = 0; row < tensor.rowCount; row++) {
      const start = tensor.offsetBytes + row * stride;
      const bytes = file.subarray(start, start + stride);
      const source = values
        .get(tensor.name)
        ?.subarray(row * tensor.columnCount, (row + 1) * tensor.columnCount);
      const wanted = source ?? predictorRow(values, tensor.name, row);
      if (!tensor.name.endsWith(".down_norm")) expectClose(tensor.dtype, bytes, wanted);
      else {
        const found = new Float32Array(wanted.length);
        decodeRow("f32", bytes, found);
        for (const [at, value] of wanted.entries()) expect(found[at]! / value).toBeCloseTo(1, 6);
      }
    }
  }
}

describe("a bundle that was written", () => {
  it.each(DTYPES)("gives every weight of the source back in %s", async (dtype) => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, dtype);
      const index = await openBundle(path);
      const { values } = seededCheckpoint();
      checkRecords(index, values);
      checkTensors(index, values);
      const resident = index.manifest.tensors
        .filter((tensor) => tensor.fileIndex === 0)
        .reduce((sum, tensor) => sum + tensor.lengthBytes, 0);
      expect(index.weightBytes).toBe(resident + 2 * NEURON_COUNT * index.manifest.record.strideBytes);
      const shares: number[] = [];
      await verifyBundle(path, ({ doneShare }) => shares.push(doneShare));
      expect(shares.at(-1)).toBe(1);
      expect(shares.every((share, at) => share >= (shares[at - 1] ?? 0) && share <= 1)).toBe(true);
    });
  });

  // Bytes that were written once and checked by the tests above: a change of any of them is a change of the format.
  it.each(DTYPES)("has the bytes it always had in %s", async (dtype) => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, dtype);
      const sums = readdirSync(path)
        .sort()
        .map((name) => [
          name,
          createHash("sha256")
            .update(readFileSync(join(path, name)))
            .digest("hex"),
        ]);
      expect(Object.fromEntries(sums)).toEqual((golden as Record<string, object>)[dtype]);
    });
  });

  it("is a bundle, and its names are looked up", async () => {
    await withFolder(async (folder) => {
      const path = await writeSeeded(folder, "q8_0", "silu");
      const index = await openBundle(path);
      expect([isBundle(path), isBundle(folder)]).toEqual([true, false]);
      expect(index.filePaths.every((each) => existsSync(each))).toBe(true);
      expect(index.filePaths).toHaveLength(3);
      expect([index.hasTensor("embedding.weight"), index.hasTensor("layers.0.exact.gate.weight")]).toEqual([
        true,
        false,
      ]);
      expect(() => index.tensor("none")).toThrow(expect.objectContaining({ code: "BUNDLE_UNKNOWN_TENSOR" }));
      expect(() => index.neuronExtent(0, NEURON_COUNT)).toThrow(RangeError);
      expect(() => index.neuronOrder(2)).toThrow(RangeError);
    });
  });
});

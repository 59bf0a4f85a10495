import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BundleIndex, FlashlmError } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { importHeads, openBundle, rewriteOrder, verifyBundle } from "../src/index.js";
import { CAN_RUN, FIXTURES, scratchFolder, shuffled, writeHere } from "./crash-support/helpers.js";
import { encodeGguf, encodeSafetensors, type MadeTensor } from "./support/made-tensors.js";

const folder = scratchFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function random(shape: readonly number[], seed: number, size = 1): MadeTensor {
  const next = createPrng(seed);
  const count = shape.reduce((product, length) => product * length, 1);
  return { shape, values: Float32Array.from({ length: count }, () => size * (next() * 2 - 1)) };
}

/** Two matrices a layer; ranks differ. */
function seededHeads({ manifest }: BundleIndex, size = 1): { first: MadeTensor; second: MadeTensor }[] {
  return manifest.layers.map(({ neuronCount }, layer) => ({
    first: random([5 + layer, manifest.model.hiddenSize], 2 * layer + 1, size),
    second: random([neuronCount, 5 + layer], 2 * layer + 2),
  }));
}

/** Product in float64. */
function times({ shape, values }: MadeTensor, vector: readonly number[]): number[] {
  const [rows, columns] = shape as [number, number];
  return Array.from({ length: rows }, (_, row) =>
    vector.reduce((sum, value, column) => sum + values[row * columns + column]! * value, 0),
  );
}

const relu = (values: readonly number[]): number[] => values.map((value) => Math.max(0, value));

/** A tensor of the bundle, halves decoded from their definition. */
function stored(bundle: BundleIndex, name: string): MadeTensor {
  const { fileIndex, offsetBytes, lengthBytes, rowCount, columnCount, dtype } = bundle.tensor(name);
  const file = readFileSync(bundle.filePaths[fileIndex]!);
  const values = Float32Array.from({ length: rowCount * columnCount }, (_, index) => {
    if (dtype === "f32") return file.readFloatLE(offsetBytes + 4 * index);
    const half = file.readUInt16LE(offsetBytes + 2 * index);
    const [exponent, mantissa] = [(half >> 10) & 31, half & 1023];
    const size = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
    return half & 0x8000 ? -size : size;
  });
  expect(lengthBytes).toBe(values.length * (dtype === "f32" ? 4 : 2));
  return { shape: [rowCount, columnCount], values };
}

/** Scores that the bundle's head gives an FFN input, in float64, by the checkpoint's neurons. */
function storedScores(bundle: BundleIndex, layer: number, input: readonly number[]): number[] {
  const low = times(stored(bundle, `layers.${layer}.lowrank.a.weight`), input);
  const { activation } = bundle.manifest.heads!.lowrank[layer]!;
  const scores = times(
    stored(bundle, `layers.${layer}.lowrank.b.weight`),
    activation === "relu" ? relu(low) : low,
  );
  const bias = stored(bundle, `layers.${layer}.lowrank.bias`).values;
  const byNeuron = new Array<number>(scores.length);
  for (const [record, neuron] of bundle.neuronOrder(layer).entries())
    byNeuron[neuron] = scores[record]! + bias[record]!;
  return byNeuron;
}

const inputOf = ({ manifest }: BundleIndex, seed: number): number[] => [
  ...random([1, manifest.model.hiddenSize], seed).values,
];

async function makeBundle(name: string, source: string): Promise<string> {
  const outPath = join(folder, name);
  await writeHere({ source: join(FIXTURES, source), dtype: "f32", outPath, contentHash: "1".repeat(64) });
  return outPath;
}

/** Numbers close to each other relative to the largest. */
function expectClose(found: readonly number[], wanted: readonly number[], tolerance: number): void {
  const largest = Math.max(...wanted.map(Math.abs));
  const worst = Math.max(...wanted.map((value, index) => Math.abs(value - found[index]!)));
  expect(worst / largest).toBeLessThan(tolerance);
}

async function codeOf(action: Promise<unknown>): Promise<string> {
  try {
    await action;
  } catch (error) {
    return FlashlmError.isInstance(error) ? `${error.code} ${error.message}` : String(error);
  }
  return "no error";
}

describe.skipIf(!CAN_RUN)("importHeads", () => {
  let path: string;
  let bundle: BundleIndex;
  const write = (name: string, bytes: Buffer): string => {
    const file = join(folder, name);
    writeFileSync(file, bytes);
    return file;
  };

  beforeAll(async () => {
    path = await makeBundle("relu", "families/llama-relu");
    bundle = await openBundle(path);
    // Records in another order than the checkpoint's neurons, as calibration leaves them.
    const order = bundle.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 5)),
    );
    const activeShareByLayer = order.map(() => 0.5);
    const calibration = { text: "seeded", tokenCount: 1, activeShareByLayer, gateThresholds: {} };
    await rewriteOrder(path, { order, calibration });
    bundle = await openBundle(path);
  });

  test("heads of two linear steps score as they did, neuron by neuron", async () => {
    const heads = seededHeads(bundle);
    const tensors = heads.flatMap(({ first, second }, layer): [string, MadeTensor][] => [
      [`layers.${layer}.0.weight`, first],
      [`layers.${layer}.1.weight`, second],
    ]);
    const from = write("linear.safetensors", encodeSafetensors(tensors));
    const made = await importHeads(path, { from, input: "normed", threshold: 0.25 });
    const ranks = heads.map(({ first }) => first.shape[0]);
    expect(made).toMatchObject({ ranks, activation: "none", input: "normed", threshold: 0.25 });
    await verifyBundle(path);
    const after = await openBundle(path);
    expect(after.manifest.heads).toMatchObject({ text: "imported from linear.safetensors", lookahead: [] });
    for (const [layer, { first, second }] of heads.entries()) {
      const input = inputOf(after, layer + 50);
      const wanted = times(second, times(first, input)).map((score) => score - 0.25);
      expectClose(storedScores(after, layer, input), wanted, 2e-3);
    }
  });

  test("PowerInfer's heads keep their ReLU, and on the residual stream their sign, from its GGUF", async () => {
    const heads = seededHeads(bundle);
    const tensors = heads.flatMap(({ first, second }, layer): [string, MadeTensor][] => [
      [`blk.${layer}.ffn_norm.weight`, random([8], 1)],
      [`blk.${layer}.fc1.weight`, first],
      [`blk.${layer}.fc2.weight`, second],
    ]);
    const from = write("model.powerinfer.gguf", encodeGguf("PWRI", {}, tensors));
    expect(await importHeads(path, { from })).toMatchObject({ activation: "relu", input: "residual" });
    const after = await openBundle(path);
    for (const [layer, { first, second }] of heads.entries()) {
      expect(after.manifest.heads!.lowrank[layer]!.activation).toBe("relu");
      const residual = inputOf(after, layer + 70).map((value) => 3 * value);
      const rms = Math.sqrt(residual.reduce((sum, value) => sum + value * value, 0) / residual.length + 1e-5);
      const norm = stored(after, `layers.${layer}.ffn_norm.weight`).values;
      const normed = residual.map((value, index) => (value / rms) * norm[index]!);
      const wanted = times(second, relu(times(first, residual)));
      const found = storedScores(after, layer, normed);
      // One factor above 0 for all neurons of the token.
      const factor = found.reduce((sum, score, neuron) => sum + score * wanted[neuron]!, 0);
      expect(factor).toBeGreaterThan(0);
      const scale = factor / wanted.reduce((sum, score) => sum + score * score, 0);
      expectClose(
        found.map((score) => score / scale),
        wanted,
        2e-3,
      );
    }
  });

  test("a folder with a file a layer, a ReLU as a step of its own, and weights too large for halves", async () => {
    const heads = seededHeads(bundle, 3e5);
    const from = join(folder, "by-layer");
    mkdirSync(from);
    for (const [layer, { first, second }] of heads.entries()) {
      const tensors: [string, MadeTensor][] = [
        ["0.weight", first],
        ["2.weight", second],
      ];
      writeFileSync(join(from, `model_${layer}.safetensors`), encodeSafetensors(tensors));
    }
    writeFileSync(join(from, "config.json"), '{"sparse_threshold": 20000}');
    const made = await importHeads(path, { from, input: "normed" });
    expect(made).toMatchObject({ activation: "relu", threshold: 20000 });
    const after = await openBundle(path);
    for (const [layer, { first, second }] of heads.entries()) {
      const input = inputOf(after, layer + 90);
      const wanted = times(second, relu(times(first, input))).map((score) => score - 20000);
      const found = storedScores(after, layer, input);
      const scale = found[0]! / wanted[0]!;
      expect(Math.abs(Math.log2(scale) - Math.round(Math.log2(scale)))).toBeLessThan(0.05);
      const power = 2 ** Math.round(Math.log2(scale));
      expectClose(
        found.map((score) => score / power),
        wanted,
        2e-3,
      );
    }
  });

  test("refuses what cannot be imported, by name, and leaves the bundle as it was", async () => {
    const before = readFileSync(join(path, "bundle.json"));
    const heads = seededHeads(bundle);
    const named = (count: number, first = "fc1", second = "fc2"): [string, MadeTensor][] =>
      heads.slice(0, count).flatMap((head, layer): [string, MadeTensor][] => [
        [`layers.${layer}.${first}.weight`, head.first],
        [`layers.${layer}.${second}.weight`, head.second],
      ]);
    const all = heads.length;
    const from = (name: string, tensors: readonly (readonly [string, MadeTensor])[]): string =>
      write(`${name}.safetensors`, encodeSafetensors(tensors));
    const refused = (file: string, more: object = {}): Promise<string> =>
      codeOf(importHeads(path, { from: file, ...more }));
    const pickles = join(folder, "pickles");
    mkdirSync(pickles);
    writeFileSync(join(pickles, "model_0.pt"), "");
    expect(await refused(pickles)).toMatch(/^CHECKPOINT_UNSUPPORTED .*pickles.*save_file/);
    expect(await refused(join(pickles, "model_0.pt"))).toMatch(/^CHECKPOINT_UNSUPPORTED/);
    expect(await refused(join(folder, "absent"))).toMatch(/^CHECKPOINT_NOT_FOUND/);
    expect(await refused(from("other", [["norm.weight", random([8], 1)]]))).toMatch(
      /^CHECKPOINT_MISSING_TENSOR/,
    );
    expect(await refused(from("few", named(all - 1)))).toMatch(
      new RegExp(`^CHECKPOINT_MISSING_TENSOR .*none of layer ${all - 1}`),
    );
    expect(await refused(from("half", named(all).slice(1)))).toMatch(/^CHECKPOINT_MISSING_TENSOR .*layer 0/);
    expect(await refused(from("turned", named(all, "fc2", "fc1")))).toMatch(/^CHECKPOINT_SHAPE/);
    const extra = random([5, 5], 3);
    const more: [string, MadeTensor][] = [
      ["layers.99.fc1.weight", extra],
      ["layers.99.fc2.weight", extra],
    ];
    expect(await refused(from("more", [...named(all), ...more]))).toMatch(/^CHECKPOINT_SHAPE .*layer 99/);
    expect(await refused(from("bias", [...named(all), ["layers.0.fc1.bias", random([5], 1)]]))).toMatch(
      /^CHECKPOINT_UNSUPPORTED .*fc1.bias/,
    );
    expect(await refused(from("nameless", [["fc1.weight", extra]]))).toMatch(/^CHECKPOINT_FORMAT .*model_N/);
    expect(await refused(from("unsaid", named(all, "0", "1")))).toMatch(/^CHECKPOINT_UNSUPPORTED .*--input/);
    const good = from("good", named(all));
    expect(await refused(good, { threshold: 0.5 })).toMatch(/^CHECKPOINT_UNSUPPORTED .*threshold is 0.5/);
    heads[0]!.first.values[3] = Number.NaN;
    expect(await refused(from("nan", named(all)))).toMatch(/^CHECKPOINT_FORMAT .*not finite/);
    expect(readFileSync(join(path, "bundle.json")).equals(before)).toBe(true);
  });

  test("norms that take the mean away cannot serve heads on the residual stream", async () => {
    const opt = await makeBundle("opt", "families/opt");
    const tensors = seededHeads(await openBundle(opt)).flatMap(
      ({ first, second }, layer): [string, MadeTensor][] => [
        [`blk.${layer}.fc1.weight`, first],
        [`blk.${layer}.fc2.weight`, second],
      ],
    );
    const from = write("opt.gguf", encodeGguf("GGUF", { "powerinfer.sparse_threshold": 0.5 }, tensors));
    expect(await codeOf(importHeads(opt, { from }))).toMatch(/^CHECKPOINT_UNSUPPORTED .*mean/);
    expect(await importHeads(opt, { from, input: "normed" })).toMatchObject({ threshold: 0.5 });
  });
});

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { BundleHead, BundleHeads, BundleIndex, HeadName } from "@flashlm/contracts";
import { afterAll, describe, expect, test } from "vitest";
import { type HeadWeights, openBundle, rewriteOrder, verifyBundle, writeHeads } from "../src/index.js";
import { CAN_RUN, FIXTURES, scratchFolder, shuffled, writeHere } from "./crash-support/helpers.js";

const folder = scratchFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const point = {
  missedTarget: 0.02,
  threshold: -1.5,
  predictedShare: 0.25,
  falseNegativeShare: 0.1,
  falsePositiveShare: 0.2,
  missedShare: 0.019,
};

/** Ranks differ by layer; the last layer has no look-ahead. */
function headsOf(bundle: BundleIndex, firstRank: number): BundleHeads {
  const list = bundle.manifest.layers.map(
    (_, layerIndex): BundleHead => ({ layerIndex, rank: firstRank + layerIndex, points: [point] }),
  );
  return { text: "seeded", tokenCount: 9, heldOutTokenCount: 1, lowrank: list, lookahead: list.slice(0, -1) };
}

/** Bytes that say where they belong: every row of b and element of bias names its neuron. */
function weightsOf(
  bundle: BundleIndex,
  heads: BundleHeads,
): (head: HeadName, layerIndex: number) => HeadWeights {
  const { hiddenSize, ffn } = bundle.manifest.model;
  return (head, layerIndex) => {
    const { rank } = heads[head][layerIndex]!;
    const mark = head === "lookahead" ? 1000 : 0;
    const b = Uint16Array.from({ length: ffn.neuronCount * rank }, (_, at) => mark + Math.floor(at / rank));
    return {
      a: new Uint8Array(rank * hiddenSize * 2).fill(layerIndex + 1),
      b: new Uint8Array(b.buffer),
      bias: Float32Array.from({ length: ffn.neuronCount }, (_, neuron) => mark + neuron),
    };
  };
}

function tensorBytes(bundle: BundleIndex, name: string): Uint8Array {
  const { fileIndex, offsetBytes, lengthBytes } = bundle.tensor(name);
  const bytes = readFileSync(bundle.filePaths[fileIndex]!);
  return new Uint8Array(bytes.subarray(offsetBytes, offsetBytes + lengthBytes));
}

/** Compares without vitest's walk over every byte. */
function expectSame(found: Uint8Array, wanted: Uint8Array, name: string): void {
  expect(Buffer.compare(found, wanted), name).toBe(0);
}

async function makeBundle(name: string, source: string): Promise<string> {
  const outPath = join(folder, name);
  await writeHere({ source: join(FIXTURES, source), dtype: "f32", outPath, contentHash: "1".repeat(64) });
  return outPath;
}

describe.skipIf(!CAN_RUN)("writeHeads", () => {
  test("adds heads, replaces them, and leaves everything else as it was", async () => {
    const path = await makeBundle("relu", "families/llama-relu");
    const before = await openBundle(path);
    const old = new Map(before.manifest.tensors.map(({ name }) => [name, tensorBytes(before, name)]));
    const records = readFileSync(before.filePaths[1]!);
    for (const firstRank of [3, 8]) {
      const heads = headsOf(before, firstRank);
      const weights = weightsOf(before, heads);
      await writeHeads(path, { heads, weights });
      await verifyBundle(path);
      const after = await openBundle(path);
      expect(after.manifest.heads).toEqual(heads);
      for (const [name, bytes] of old) expectSame(tensorBytes(after, name), bytes, name);
      expect(readFileSync(after.filePaths[1]!).equals(records)).toBe(true);
      for (const head of ["lowrank", "lookahead"] as const) {
        for (const { layerIndex } of heads[head]) {
          const { a, b, bias } = weights(head, layerIndex);
          const prefix = `layers.${layerIndex}.${head}`;
          expectSame(tensorBytes(after, `${prefix}.a.weight`), a, prefix);
          expectSame(tensorBytes(after, `${prefix}.b.weight`), b, prefix);
          expectSame(tensorBytes(after, `${prefix}.bias`), new Uint8Array(bias.buffer), prefix);
        }
      }
      expect(after.manifest.tensors.length).toBe(
        old.size + 3 * (heads.lowrank.length + heads.lookahead.length),
      );
    }
  });

  test("heads follow their neurons when records are sorted, look-ahead those of the next layer", async () => {
    const path = await makeBundle("sorted", "families/llama-relu");
    const before = await openBundle(path);
    const heads = headsOf(before, 2);
    await writeHeads(path, { heads, weights: weightsOf(before, heads) });
    const order = before.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 5)),
    );
    const calibration = {
      text: "seeded",
      tokenCount: 1,
      activeShareByLayer: order.map(() => 0),
      gateThresholds: {},
    };
    await rewriteOrder(path, { order, calibration });
    await verifyBundle(path);
    const after = await openBundle(path);
    expect(after.manifest.heads).toEqual(heads);
    for (const [head, mark, ahead] of [
      ["lowrank", 0, 0],
      ["lookahead", 1000, 1],
    ] as const) {
      for (const { layerIndex } of heads[head]) {
        const bias = new Float32Array(tensorBytes(after, `layers.${layerIndex}.${head}.bias`).buffer);
        expect([...bias]).toEqual([...order[layerIndex + ahead]!].map((neuron) => mark + neuron));
        const a = tensorBytes(after, `layers.${layerIndex}.${head}.a.weight`);
        expect(a.every((byte) => byte === layerIndex + 1)).toBe(true);
      }
    }
  });

  test("q8_0 where whole blocks fit the rows, f16 elsewhere; both follow their neurons, and f16 replaces them", async () => {
    const path = await makeBundle("blocks", "families/llama-relu");
    const before = await openBundle(path);
    const { hiddenSize, ffn } = before.manifest.model;
    // Ranks 31, 32, 33: of the second matrix only the middle one's rows are whole blocks.
    const heads = headsOf(before, 31);
    const wanted = heads.lowrank.map(({ rank }) => [
      "q8_0",
      rank * (hiddenSize / 32) * 34,
      ...(rank === 32 ? ["q8_0", ffn.neuronCount * 34] : ["f16", ffn.neuronCount * rank * 2]),
    ]);
    const rowsOf = ({ rank }: BundleHead) => (rank === 32 ? 34 : 2 * rank);
    const weights = (_: HeadName, layerIndex: number): HeadWeights => {
      const head = heads.lowrank[layerIndex]!;
      const row = rowsOf(head);
      return {
        a: new Uint8Array(head.rank * (hiddenSize / 32) * 34).fill(9),
        b: Uint8Array.from({ length: ffn.neuronCount * row }, (_, at) => Math.floor(at / row) % 251),
        bias: new Float32Array(ffn.neuronCount),
      };
    };
    await writeHeads(path, { heads, dtype: "q8_0", weights });
    await verifyBundle(path);
    const order = before.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 3)),
    );
    const activeShareByLayer = order.map(() => 0);
    const calibration = { text: "seeded", tokenCount: 1, activeShareByLayer, gateThresholds: {} };
    await rewriteOrder(path, { order, calibration });
    await verifyBundle(path);
    const after = await openBundle(path);
    const found = heads.lowrank.map(({ layerIndex }) =>
      (["a", "b"] as const).flatMap((part) => {
        const { dtype, lengthBytes } = after.tensor(`layers.${layerIndex}.lowrank.${part}.weight`);
        return [dtype, lengthBytes];
      }),
    );
    expect(found).toEqual(wanted);
    for (const head of heads.lowrank) {
      const b = tensorBytes(after, `layers.${head.layerIndex}.lowrank.b.weight`);
      const firsts = [...order[head.layerIndex]!].map((_, record) => b[record * rowsOf(head)]!);
      expect(firsts).toEqual([...order[head.layerIndex]!].map((neuron) => neuron % 251));
    }
    const old = headsOf(before, 4);
    await writeHeads(path, { heads: old, weights: weightsOf(before, old) });
    const again = await openBundle(path);
    expect(again.tensor("layers.1.lowrank.b.weight").dtype).toBe("f16");
  });

  test("refuses weights of another dtype than was asked for", async () => {
    const path = await makeBundle("halves", "families/llama-relu");
    const bundle = await openBundle(path);
    const heads = headsOf(bundle, 32);
    const writing = writeHeads(path, { heads, dtype: "q8_0", weights: weightsOf(bundle, heads) });
    await expect(writing).rejects.toMatchObject({ code: "BUNDLE_FORMAT" });
    await verifyBundle(path);
  });

  test("refuses weights that do not fit, and the bundle stays as it was", async () => {
    const path = await makeBundle("refused", "families/llama-relu");
    const bundle = await openBundle(path);
    const heads = headsOf(bundle, 4);
    const weights = weightsOf(bundle, heads);
    const short: typeof weights = (head, layerIndex) => {
      const made = weights(head, layerIndex);
      return layerIndex === 1 ? { ...made, b: made.b.subarray(2) } : made;
    };
    await expect(writeHeads(path, { heads, weights: short })).rejects.toMatchObject({
      code: "BUNDLE_FORMAT",
    });
    await verifyBundle(path);
    expect((await openBundle(path)).manifest).toEqual(bundle.manifest);
  });

  test("look-ahead heads may be absent", async () => {
    const path = await makeBundle("gguf", "gguf/types-F32.gguf");
    const bundle = await openBundle(path);
    const heads = headsOf(bundle, 4);
    await writeHeads(path, { heads: { ...heads, lookahead: [] }, weights: weightsOf(bundle, heads) });
    await verifyBundle(path);
    expect((await openBundle(path)).hasTensor("layers.0.lowrank.bias")).toBe(true);
  });
});

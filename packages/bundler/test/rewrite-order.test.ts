import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BUNDLE_FILES, type BundleIndex } from "@flashlm/contracts";
import { afterAll, describe, expect, test } from "vitest";
import { openBundle, rewriteOrder, verifyBundle } from "../src/index.js";
import {
  CAN_RUN,
  digestFolder,
  FIXTURES,
  scratchFolder,
  shuffled,
  writeHere,
} from "./crash-support/helpers.js";

const folder = scratchFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const calibration = (bundle: BundleIndex) => ({
  text: "seeded",
  tokenCount: 7,
  activeShareByLayer: bundle.manifest.layers.map(() => 0.25),
  gateThresholds: { "0.5": bundle.manifest.layers.map(() => 0.125) },
});

/** Bytes of a bundle's files, read before a rewrite. */
function contents(bundle: BundleIndex): Buffer[] {
  return bundle.filePaths.map((path) => readFileSync(path));
}

async function makeBundle(name: string, source: string, dtype: "f32" | "q8_0" | "q4_0"): Promise<string> {
  const outPath = join(folder, name);
  await writeHere({ source: join(FIXTURES, source), dtype, outPath, contentHash: "1".repeat(64) });
  return outPath;
}

describe.skipIf(!CAN_RUN)("rewriteOrder", () => {
  test.each([
    ["gguf/types-F32.gguf", "q4_0"],
    ["families/llama-relu", "f32"],
    ["families/bamboo", "f32"],
  ] as const)("moves everything of a neuron together: %s in %s", async (source, dtype) => {
    const path = await makeBundle(source.replaceAll("/", "-"), source, dtype);
    const before = await openBundle(path);
    const bytes = contents(before);
    const order = before.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 1)),
    );
    const shares: number[] = [];
    await rewriteOrder(path, {
      order,
      calibration: calibration(before),
      onProgress: (event) => shares.push(event.doneShare),
    });
    expect(shares.at(-1)).toBe(1);
    expect(shares.every((share, index) => index === 0 || share >= shares[index - 1]!)).toBe(true);
    await verifyBundle(path);
    const after = await openBundle(path);
    expect(after.manifest.calibration).toEqual(calibration(before));
    const now = contents(after);
    for (const [layer, indices] of order.entries()) {
      expect([...after.neuronOrder(layer)]).toEqual([...indices]);
      for (const [record, old] of indices.entries()) {
        const from = before.neuronExtent(layer, old);
        const to = after.neuronExtent(layer, record);
        const same = bytes[1]!
          .subarray(from.offsetBytes, from.offsetBytes + from.lengthBytes)
          .equals(now[1]!.subarray(to.offsetBytes, to.offsetBytes + to.lengthBytes));
        if (!same) expect.fail(`record ${record} of layer ${layer}`);
      }
    }
    for (const tensor of before.manifest.tensors) {
      const { name, offsetBytes, lengthBytes, fileIndex } = tensor;
      const old = bytes[fileIndex]!.subarray(offsetBytes, offsetBytes + lengthBytes);
      const present = now[fileIndex]!.subarray(offsetBytes, offsetBytes + lengthBytes);
      const moves = /\.(shadow|exact)\.|\.ffn\.(gate|up)\.bias$/.test(name);
      if (!moves) {
        expect(old.equals(present), name).toBe(true);
        continue;
      }
      const indices = order[Number(name.split(".")[1])]!;
      const size = lengthBytes / indices.length;
      const moved = Buffer.concat(
        Array.from(indices, (index) => old.subarray(index * size, (index + 1) * size)),
      );
      expect(moved.equals(present), name).toBe(true);
    }
    expect(after.manifest.tensors.map((tensor) => ({ ...tensor, crc32c: 0 }))).toEqual(
      before.manifest.tensors.map((tensor) => ({ ...tensor, crc32c: 0 })),
    );
  });

  test("composes orders: the inverse gives the first bytes back", async () => {
    const path = await makeBundle("inverse", "gguf/types-Q8_0.gguf", "q8_0");
    const bundle = await openBundle(path);
    const first = digestFolder(path)!;
    const order = bundle.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 50)),
    );
    await rewriteOrder(path, { order, calibration: calibration(bundle) });
    const second = bundle.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer + 90)),
    );
    await rewriteOrder(path, { order: second, calibration: calibration(bundle) });
    const composed = await openBundle(path);
    const inverse = second.map((indices, layer) => {
      const expected = Array.from(indices, (index) => order[layer]![index]!);
      expect([...composed.neuronOrder(layer)]).toEqual(expected);
      const back = new Uint32Array(indices.length);
      for (const [record, neuron] of expected.entries()) back[neuron] = record;
      return back;
    });
    await rewriteOrder(path, { order: inverse, calibration: calibration(bundle) });
    const last = digestFolder(path)!;
    for (const name of [...BUNDLE_FILES, "checksums.safetensors"]) expect(last[name], name).toBe(first[name]);
  });

  test("refuses orders that are no permutation, and leaves the bundle alone", async () => {
    const path = await makeBundle("refused", "gguf/types-Q8_0.gguf", "q8_0");
    const bundle = await openBundle(path);
    const first = digestFolder(path);
    const good = bundle.manifest.layers.map(({ neuronCount }) =>
      Uint32Array.from({ length: neuronCount }, (_none, index) => index),
    );
    const twice = good.map((indices) => indices.map((index) => (index === 1 ? 0 : index)));
    const beyond = good.map((indices) => indices.map((index) => (index === 0 ? indices.length : index)));
    for (const order of [[], good.slice(1), good.map((indices) => indices.subarray(1)), twice, beyond]) {
      await expect(rewriteOrder(path, { order, calibration: calibration(bundle) })).rejects.toMatchObject({
        code: "BUNDLE_FORMAT",
      });
    }
    const signal = AbortSignal.abort();
    await expect(
      rewriteOrder(path, { order: good, calibration: calibration(bundle), signal }),
    ).rejects.toMatchObject({ code: "FLASH_ABORTED" });
    expect(digestFolder(path)).toEqual(first);
    await expect(
      rewriteOrder(join(folder, "absent"), { order: good, calibration: calibration(bundle) }),
    ).rejects.toMatchObject({ code: "BUNDLE_NOT_FOUND" });
  });

  test.each([1, 2] as const)("does not give damage in file %i a new checksum", async (fileIndex) => {
    const path = await makeBundle(`damaged-${fileIndex}`, "gguf/types-Q8_0.gguf", "q8_0");
    const bundle = await openBundle(path);
    const tensor = bundle.manifest.tensors.find(
      (each) => each.fileIndex === fileIndex && /shadow/.test(each.name),
    );
    const at = (fileIndex === 1 ? bundle.manifest.layers[0]!.offsetBytes : tensor!.offsetBytes) + 3;
    const bytes = readFileSync(bundle.filePaths[fileIndex]!);
    bytes[at] = bytes[at]! ^ 1;
    writeFileSync(bundle.filePaths[fileIndex]!, bytes);
    const order = bundle.manifest.layers.map(({ neuronCount }, layer) =>
      Uint32Array.from(shuffled(neuronCount, layer)),
    );
    await expect(rewriteOrder(path, { order, calibration: calibration(bundle) })).rejects.toMatchObject({
      code: "BUNDLE_CHECKSUM",
    });
  });
});

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type BundleIndex, rowBytes, type WeightDtype } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { type BundleDocument, decodeBundleJson } from "../../src/format/bundle-json.js";
import {
  type Checkpoint,
  chooseDtype,
  encodeRow,
  openBundle,
  openCheckpoint,
  planBundleIndex,
  verifyBundle,
  writeBundle,
} from "../../src/index.js";
import { checkLayout } from "../../src/reader/layout-checks.js";
import { checkModelTensors } from "../../src/reader/model-checks.js";
import { hasShared, SHARED } from "../sources/fixtures.js";
import { seededCheckpoint, withFolder } from "./seeded.js";

const RESIDENT = /attention\.(query|key|value|output)\.weight$|^(embedding|head)\.(projection\.)?weight$/;
const HASH = "4".repeat(64);
const ALL: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

async function write(
  checkpoint: Checkpoint,
  outPath: string,
  dtype: WeightDtype,
  residentDtype?: WeightDtype,
): Promise<BundleIndex> {
  const dtypes = { dtype, ...(residentDtype ? { residentDtype } : {}) };
  await writeBundle(checkpoint, { outPath, ...dtypes, contentHash: HASH });
  return openBundle(outPath);
}

/** A matrix of the checkpoint as `dtype` stores it: rounded by itself, whatever a bundle is. */
function encoded(checkpoint: Checkpoint, name: string, dtype: WeightDtype): Uint8Array {
  const [rowCount, columnCount] = checkpoint.tensors.get(name)!.shape as [number, number];
  const rows = new Float32Array(rowCount * columnCount);
  checkpoint.readRows(name, 0, rowCount, rows);
  const bytes = new Uint8Array(rowCount * rowBytes(dtype, columnCount));
  encodeRow(dtype, rows, bytes);
  return bytes;
}

/** Residents are those of the checkpoint in their dtype, all else is as in the bundle without one. */
function expectMixed(
  checkpoint: Checkpoint,
  mixed: BundleIndex,
  plain: BundleIndex,
  dtype: WeightDtype,
): void {
  const files = [mixed, plain].map(({ filePaths }) => filePaths.map((path) => readFileSync(path)));
  expect(Buffer.compare(files[0]![1]!, files[1]![1]!)).toBe(0);
  let residentCount = 0;
  for (const tensor of mixed.manifest.tensors) {
    const bytesOf = (each: typeof tensor, of: 0 | 1): Uint8Array =>
      new Uint8Array(
        files[of]![each.fileIndex]!.subarray(each.offsetBytes, each.offsetBytes + each.lengthBytes),
      );
    const bytes = bytesOf(tensor, 0);
    if (RESIDENT.test(tensor.name)) {
      residentCount++;
      expect(tensor.dtype, tensor.name).toBe(dtype);
      expect(Buffer.compare(bytes, encoded(checkpoint, tensor.name, dtype)), tensor.name).toBe(0);
    } else {
      const same = plain.tensor(tensor.name);
      expect(tensor.dtype, tensor.name).toBe(same.dtype);
      expect(Buffer.compare(bytes, bytesOf(same, 1)), tensor.name).toBe(0);
    }
  }
  expect(residentCount).toBeGreaterThan(4 * mixed.manifest.layers.length);
  const residentBytes = mixed.manifest.tensors
    .filter(({ fileIndex }) => fileIndex === 0)
    .reduce((total, { lengthBytes }) => total + lengthBytes, 0);
  const { layers, record } = mixed.manifest;
  const neuronCount = layers.reduce((total, layer) => total + layer.neuronCount, 0);
  expect(mixed.weightBytes).toBe(residentBytes + neuronCount * record.strideBytes);
}

/** Folders and files of the shared fixtures: tied and not, with learned positions, fused projections and GGUF's order of rows. */
const SOURCES = [
  ...["llama", "llama-tied-rope3", "opt", "opt-post-norm", "falcon-7b", "phi3", "gemma3"].map(
    (name) => `families/${name}`,
  ),
  ...["gguf/types-Q4_K_M.gguf", "gguf/qwen3-F32.gguf"],
];

describe("a bundle whose residents have a dtype of their own", () => {
  it.each(ALL)("holds a seeded model's residents in %s and leaves the rest as it is", (dtype) =>
    withFolder(async (folder) => {
      const checkpoint = seededCheckpoint();
      const records = dtype === "f16" ? "f32" : "f16";
      const plain = await write(checkpoint, join(folder, "plain"), records);
      const mixed = await write(checkpoint, join(folder, "mixed"), records, dtype);
      expect(mixed.manifest).toMatchObject({ dtype: records, residentDtype: dtype });
      expectMixed(checkpoint, mixed, plain, dtype);
      await verifyBundle(join(folder, "mixed"));
    }),
  );

  describe.skipIf(!hasShared)("of every form of checkpoint", () => {
    it.each(SOURCES)("%s", (name) =>
      withFolder(async (folder) => {
        const checkpoint = await openCheckpoint(`${SHARED}fixtures/${name}`);
        try {
          const plain = await write(checkpoint, join(folder, "plain"), "f16");
          const mixed = await write(checkpoint, join(folder, "mixed"), "f16", "q8_0");
          expectMixed(checkpoint, mixed, plain, "q8_0");
        } finally {
          checkpoint.close();
        }
      }),
    );

    it("finer than its records, and coarser than the source's own blocks", () =>
      withFolder(async (folder) => {
        const checkpoint = await openCheckpoint(`${SHARED}fixtures/gguf/types-Q8_0.gguf`);
        const plain = await write(checkpoint, join(folder, "plain"), "q4_0");
        for (const dtype of ["f16", "q4_0"] as const)
          expectMixed(checkpoint, await write(checkpoint, join(folder, dtype), "q4_0", dtype), plain, dtype);
        checkpoint.close();
      }));
  });
});

describe("asking for the dtype of residents", () => {
  it("that they have anyway changes nothing", () => {
    const checkpoint = seededCheckpoint();
    for (const dtype of ["f32", "f16", "bf16", "q8_0"] as const) {
      const choice = chooseDtype(checkpoint, dtype, dtype);
      expect(choice).toEqual(chooseDtype(checkpoint, dtype));
      expect(choice).not.toHaveProperty("residentDtype");
    }
    expect(chooseDtype(checkpoint, "q4_0", "q4_0").residentDtype).toBe("q4_0");
  });

  it("says what becomes of which weights", () => {
    const { reason, lossy } = chooseDtype(seededCheckpoint(), "f32", "q8_0");
    expect(reason).toBe("f32 was asked for; for attention and embeddings q8_0 was asked for");
    expect(lossy).toEqual(["F32 -> q8_0 (attention and embeddings): 9 tensors"]);
  });

  it("is refused as --dtype is where it is unknown or its blocks do not fit", () => {
    const checkpoint = seededCheckpoint();
    const code = expect.objectContaining({ code: "BUNDLE_DTYPE" });
    expect(() => chooseDtype(checkpoint, "f16", "q2_k" as WeightDtype)).toThrow(code);
    const odd = { ...checkpoint, model: { ...checkpoint.model, hiddenSize: 40 } };
    expect(() => chooseDtype(odd, "f16", "q8_0")).toThrow(code);
    expect(chooseDtype(odd, "f32", "bf16").residentDtype).toBe("bf16");
  });

  it("plans the bundle that is then written, without checksums", () =>
    withFolder(async (folder) => {
      const checkpoint = seededCheckpoint();
      const written = await write(checkpoint, join(folder, "mixed"), "f16", "q8_0");
      const choice = chooseDtype(checkpoint, "f16", "q8_0");
      const planned = planBundleIndex(checkpoint, choice, join(folder, "planned"), HASH);
      expect(existsSync(join(folder, "planned"))).toBe(false);
      const tensors = written.manifest.tensors.map((tensor) => ({ ...tensor, crc32c: 0 }));
      expect(planned.manifest).toEqual({ ...written.manifest, manifestCrc32c: undefined, tensors });
      expect(planned.weightBytes).toBe(written.weightBytes);
      expect(planned.neuronExtent(1, 3)).toEqual(written.neuronExtent(1, 3));
      expect(() => planned.recordChecksums(0)).toThrow(RangeError);
    }));

  it("starts an interrupted bundle over where it is another one, and resumes the same", () =>
    withFolder(async (folder) => {
      const read: string[] = [];
      const base = seededCheckpoint();
      const checkpoint: Checkpoint = {
        ...base,
        readRows: (name, ...rest) => {
          read.push(name);
          base.readRows(name, ...rest);
        },
      };
      const outPath = join(folder, "bundle");
      const stop = async (residentDtype: WeightDtype): Promise<void> => {
        const abort = new AbortController();
        const onProgress = (event: { doneShare: number }): void => {
          if (event.doneShare > 0.6) abort.abort();
        };
        const job = {
          outPath,
          dtype: "f32",
          residentDtype,
          contentHash: HASH,
          signal: abort.signal,
        } as const;
        const stopped = writeBundle(checkpoint, { ...job, onProgress });
        await expect(stopped).rejects.toMatchObject({ code: "FLASH_ABORTED" });
      };
      // f16 and bf16 have the same sizes and places.
      await stop("f16");
      await stop("bf16");
      read.length = 0;
      const plain = await write(base, join(folder, "plain"), "f32");
      const mixed = await write(checkpoint, outPath, "f32", "bf16");
      expect(read.some((name) => name.startsWith("layers.0."))).toBe(false);
      expectMixed(base, mixed, plain, "bf16");
    }));

  it("is part of the format: tensors of another dtype are refused", () =>
    withFolder(async (folder) => {
      const path = join(folder, "mixed");
      await write(seededCheckpoint(), path, "f16", "q8_0");
      const document = decodeBundleJson(readFileSync(join(path, "bundle.json")), path) as BundleDocument;
      expect(() => checkLayout(document, path)).not.toThrow();
      expect(() => checkModelTensors(document, path)).not.toThrow();
      const code = expect.objectContaining({ code: "BUNDLE_FORMAT" });
      for (const residentDtype of [undefined, "f16", "q4_0"] as const)
        expect(() => checkModelTensors({ ...document, residentDtype }, path)).toThrow(code);
    }));
});

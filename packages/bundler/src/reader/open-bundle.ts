import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  BUNDLE_FILES,
  type BundleIndex,
  type BundleManifest,
  type BundleTensor,
  FlashlmError,
} from "@flashlm/contracts";
import { type BundleDocument, decodeBundleJson } from "../format/bundle-json.js";
import { CHECKSUMS_FILE } from "../format/bundle-plan.js";
import { MANIFEST_BYTES_MAX } from "../format/limits.js";
import { checkFileSize, openBundleFile, readExactly } from "./bundle-files.js";
import { parseBundleDocument } from "./bundle-schema.js";
import { type ChecksumTables, readChecksumTables } from "./checksum-tables.js";
import { checkLayout } from "./layout-checks.js";
import { checkModelTensors } from "./model-checks.js";

/** True for a folder with a `bundle.json`; says nothing of what is in it. */
export function isBundle(path: string): boolean {
  return existsSync(join(path, "bundle.json"));
}

/**
 * Opens a bundle: reads `bundle.json` and the checksum tables (8 bytes per neuron) and checks them, every file's size
 * and every extent. Weights are not read: see `verifyBundle`. Holds no file open.
 * @throws BUNDLE_NOT_FOUND, BUNDLE_FORMAT, BUNDLE_VERSION, BUNDLE_LIMIT, BUNDLE_TRUNCATED, BUNDLE_CHECKSUM, FLASH_IO.
 */
export async function openBundle(path: string): Promise<BundleIndex> {
  const { document, tables } = await readBundle(resolve(path));
  const { files: _files, ...manifest } = document;
  return makeIndex(resolve(path), manifest, tables);
}

/** All of a bundle but its weights, checked as by {@link openBundle}. `bundlePath` is absolute. */
export async function readBundle(
  bundlePath: string,
): Promise<{ document: BundleDocument; tables: ChecksumTables }> {
  const path = join(bundlePath, "bundle.json");
  const document = parseBundleDocument(decodeBundleJson(await readManifestBytes(bundlePath), path), path);
  checkLayout(document, path);
  checkModelTensors(document, path);
  for (const file of document.files) await checkFileSize(bundlePath, file);
  const entry = document.files.find((file) => file.name === CHECKSUMS_FILE)!;
  return { document, tables: await readChecksumTables(bundlePath, entry, document.layers) };
}

async function readManifestBytes(bundlePath: string): Promise<Uint8Array> {
  const path = join(bundlePath, "bundle.json");
  if (!existsSync(path)) {
    throw new FlashlmError(
      "BUNDLE_NOT_FOUND",
      `${bundlePath} is no bundle: it has no bundle.json; give the folder of a bundle, or make one`,
      { path: bundlePath },
    );
  }
  const file = await openBundleFile(path);
  try {
    const status = await file.stat();
    if (!status.isFile())
      throw new FlashlmError("BUNDLE_FORMAT", `${path} is not a regular file: make the bundle again`, {
        path,
      });
    if (status.size > MANIFEST_BYTES_MAX) {
      throw new FlashlmError(
        "BUNDLE_LIMIT",
        `${path} has ${status.size} bytes, expected at most ${MANIFEST_BYTES_MAX}`,
        { path, sizeBytes: status.size },
      );
    }
    const bytes = new Uint8Array(status.size);
    await readExactly(file, path, bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

/** The index of a manifest that is known to be sound. */
export function makeIndex(path: string, manifest: BundleManifest, tables: ChecksumTables): BundleIndex {
  const tensors = new Map<string, BundleTensor>(manifest.tensors.map((tensor) => [tensor.name, tensor]));
  const { strideBytes } = manifest.record;
  const fileCount = manifest.tensors.some((tensor) => tensor.fileIndex === 2) ? 3 : 2;
  const residentBytes = manifest.tensors.reduce(
    (sum, tensor) => sum + (tensor.fileIndex === 0 ? tensor.lengthBytes : 0),
    0,
  );
  const recordBytes = manifest.layers.reduce((sum, layer) => sum + layer.neuronCount * strideBytes, 0);
  const ofLayer = <Value>(list: readonly Value[], layerIndex: number): Value => {
    const value = list[layerIndex];
    if (value === undefined) throw new RangeError(`layer ${layerIndex} of ${list.length}`);
    return value;
  };
  return {
    contractVersion: 1,
    path,
    manifest,
    filePaths: BUNDLE_FILES.slice(0, fileCount).map((name) => join(path, name)),
    tensor: (name) => {
      const tensor = tensors.get(name);
      if (tensor === undefined) {
        throw new FlashlmError("BUNDLE_UNKNOWN_TENSOR", `the bundle ${path} has no tensor ${name}`, {
          path,
          name,
        });
      }
      return tensor;
    },
    hasTensor: (name) => tensors.has(name),
    neuronExtent: (layerIndex, neuronId) => {
      const { offsetBytes, neuronCount } = ofLayer(manifest.layers, layerIndex);
      if (!(neuronId >= 0 && neuronId < neuronCount))
        throw new RangeError(`neuron ${neuronId} of ${neuronCount} in layer ${layerIndex}`);
      return { offsetBytes: offsetBytes + neuronId * strideBytes, lengthBytes: strideBytes };
    },
    recordChecksums: (layerIndex) => ofLayer(tables.recordChecksums, layerIndex),
    neuronOrder: (layerIndex) => ofLayer(tables.orders, layerIndex),
    weightBytes: residentBytes + recordBytes,
  };
}

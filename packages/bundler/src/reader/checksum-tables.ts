import { readFile } from "node:fs/promises";
import { endianness } from "node:os";
import { join } from "node:path";
import { type BundleLayer, FlashlmError } from "@flashlm/contracts";
import type { BundleFileEntry } from "../format/bundle-json.js";
import { planChecksums } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";

/** Per layer: checksum of each record, and the original index of its neuron, each `[neuronCount]`. */
export interface ChecksumTables {
  readonly recordChecksums: readonly Uint32Array[];
  readonly orders: readonly Uint32Array[];
}

/**
 * Reads `checksums.safetensors`, whose layout follows from the layers alone.
 * @throws BUNDLE_CHECKSUM, BUNDLE_FORMAT where the header or an order is not what it must be.
 */
export async function readChecksumTables(
  bundlePath: string,
  entry: BundleFileEntry,
  layers: readonly BundleLayer[],
): Promise<ChecksumTables> {
  const path = join(bundlePath, entry.name);
  const { file, tables } = planChecksums(layers.map((layer) => layer.neuronCount));
  if (entry.sizeBytes !== file.sizeBytes) {
    throw new FlashlmError(
      "BUNDLE_FORMAT",
      `${path} has ${entry.sizeBytes} bytes, its layers need ${file.sizeBytes}: make the bundle again`,
      { path },
    );
  }
  const bytes = await readFile(path);
  if (bytes.length !== file.sizeBytes || crc32c(bytes) !== entry.crc32c) {
    throw new FlashlmError(
      "BUNDLE_CHECKSUM",
      `${path} was changed or damaged (its checksum differs): make the bundle again`,
      { path },
    );
  }
  if (Buffer.compare(bytes.subarray(0, file.header.length), file.header) !== 0) {
    throw new FlashlmError(
      "BUNDLE_FORMAT",
      `${path} does not begin with the tables of the layers of bundle.json: make the bundle again`,
      { path },
    );
  }
  const read = (offsetBytes: number, neuronCount: number): Uint32Array => {
    const end = offsetBytes + neuronCount * 4;
    const copy = bytes.buffer.slice(bytes.byteOffset + offsetBytes, bytes.byteOffset + end) as ArrayBuffer;
    if (endianness() === "BE") Buffer.from(copy).swap32();
    return new Uint32Array(copy);
  };
  const recordChecksums = layers.map((layer, index) =>
    read(tables[index]!.crcOffsetBytes, layer.neuronCount),
  );
  const orders = layers.map((layer, index) => read(tables[index]!.orderOffsetBytes, layer.neuronCount));
  for (const [index, order] of orders.entries()) checkPermutation(path, index, order);
  return { recordChecksums, orders };
}

function checkPermutation(path: string, layerIndex: number, order: Uint32Array): void {
  const seen = new Uint8Array(order.length);
  for (const neuron of order) {
    if (neuron >= order.length || seen[neuron] === 1) {
      const message = `${path}: the order of layer ${layerIndex} is not a permutation of its ${order.length} neurons (at ${neuron}): make the bundle again`;
      throw new FlashlmError("BUNDLE_FORMAT", message, { path, layerIndex, neuron });
    }
    seen[neuron] = 1;
  }
}

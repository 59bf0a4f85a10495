import { type FileHandle, mkdir, open, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { BUNDLE_FILES, type BundleCalibration, type BundleTensor, FlashlmError } from "@flashlm/contracts";
import { type BundleDocument, type BundleFileEntry, encodeBundleJson } from "../format/bundle-json.js";
import { CHECKSUMS_FILE, planChecksums } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { orderLayerOf } from "../format/head-tensors.js";
import { readBundle } from "../reader/open-bundle.js";
import { acquireBundleLock } from "./bundle-lock.js";
import {
  copyDurably,
  discardFolder,
  installFolder,
  recoverReplacement,
  refuseForeign,
  requireFreeSpace,
  writeDurably,
  writeError,
} from "./install-bundle.js";
import { copyRange, permuteRows, type RewriteStep } from "./permute-rows.js";

/** Options of {@link rewriteOrder}. */
export interface RewriteOrderOptions {
  /** Per layer, `[neuronCount]`: index of a record after the rewrite to its index now. Borrowed. */
  readonly order: readonly Uint32Array[];
  /** What the manifest will say about calibration. */
  readonly calibration: BundleCalibration;
  /** Called after every piece written; `doneShare` grows from 0 to 1. */
  readonly onProgress?: (event: { readonly doneShare: number }) => void;
  /** Stops the work with FLASH_ABORTED; the bundle stays as it was. */
  readonly signal?: AbortSignal;
}

/** What the steps of a rewrite share. */
interface Rewrite {
  readonly path: string;
  readonly partialPath: string;
  readonly document: BundleDocument;
  readonly order: readonly Uint32Array[];
  readonly onBytes: (lengthBytes: number) => void;
}

/**
 * Puts the neuron records of the bundle at `bundlePath` into a new order, with everything that stands in that order:
 * checksums, the order itself, predictor tensors, gate and up biases. Works in `bundlePath.rewrite`, so the bundle is
 * whole at every moment and needs as much free space again. Checks what it reads; holds about 32 MiB and the tables of
 * checksums.  A reader that has it open keeps the old files.
 * @throws BUNDLE_FORMAT for an order that is no permutation, BUNDLE_CHECKSUM, BUNDLE_BUSY, BUNDLE_WRITE,
 * FLASH_ABORTED, and whatever `openBundle` throws.
 */
export async function rewriteOrder(bundlePath: string, options: RewriteOrderOptions): Promise<void> {
  const path = resolve(bundlePath);
  const partialPath = `${path}.rewrite`;
  const release = acquireBundleLock(path);
  let totalBytes = 0;
  try {
    await recoverReplacement(path);
    const { document } = await readBundle(path);
    checkOrder(document, options.order);
    totalBytes = document.files.reduce((sum, file) => sum + file.sizeBytes, 0);
    await refuseForeign(partialPath);
    await discardFolder(partialPath);
    await requireFreeSpace(path, totalBytes);
    await mkdir(partialPath, { recursive: true });
    const onBytes = progressOf(document, options, path);
    onBytes(0);
    await rewriteFolder({ path, partialPath, document, order: options.order, onBytes }, options.calibration);
    await installFolder(partialPath, path);
    options.onProgress?.({ doneShare: 1 });
  } catch (cause) {
    await discardFolder(partialPath).catch(() => undefined);
    throw writeError(cause, partialPath, totalBytes);
  } finally {
    release();
  }
}

function checkOrder(document: BundleDocument, order: readonly Uint32Array[]): void {
  const fail = (message: string): never => {
    throw new FlashlmError("BUNDLE_FORMAT", `${message}: give a permutation of record indices per layer`, {});
  };
  const layerCount = document.layers.length;
  if (order.length !== layerCount) fail(`the new order has ${order.length} layers, the bundle ${layerCount}`);
  for (const [layer, { neuronCount }] of document.layers.entries()) {
    const indices = order[layer]!;
    if (indices.length !== neuronCount)
      fail(`the order of layer ${layer} has ${indices.length} entries, the layer ${neuronCount} neurons`);
    const seen = new Uint8Array(neuronCount);
    for (const index of indices) {
      if (index >= neuronCount)
        fail(`the order of layer ${layer} names record ${index}, the last one is ${neuronCount - 1}`);
      if (seen[index] === 1) fail(`the order of layer ${layer} names record ${index} twice`);
      seen[index] = 1;
    }
  }
}

function progressOf(
  document: BundleDocument,
  options: RewriteOrderOptions,
  path: string,
): (lengthBytes: number) => void {
  const weightFiles = document.files.filter((file) => file.crc32c === null);
  const totalBytes = weightFiles.reduce((sum, file) => sum + file.sizeBytes, 0);
  let doneBytes = 0;
  return (lengthBytes) => {
    doneBytes += lengthBytes;
    options.onProgress?.({ doneShare: Math.min(0.999, doneBytes / totalBytes) });
    if (options.signal?.aborted) {
      throw new FlashlmError("FLASH_ABORTED", "the rewrite was stopped; the bundle is as it was", { path });
    }
  };
}

/** Writes every file of the new bundle, `bundle.json` last. */
async function rewriteFolder(rewrite: Rewrite, calibration: BundleCalibration): Promise<void> {
  const { document, partialPath, path } = rewrite;
  const tableBytes = await rewriteTables(rewrite);
  const checksums = new Map<string, number>();
  const names = document.files.map((file) => file.name);
  for (const [fileIndex, name] of BUNDLE_FILES.entries()) {
    if (names.includes(name)) await rewriteWeights(rewrite, fileIndex, checksums);
  }
  for (const file of document.files) {
    if (file.crc32c !== null && file.name !== CHECKSUMS_FILE)
      await copyDurably(join(path, file.name), join(partialPath, file.name));
  }
  const files = document.files.map(
    (file): BundleFileEntry =>
      file.name === CHECKSUMS_FILE ? { ...file, crc32c: crc32c(tableBytes) } : file,
  );
  const tensors = document.tensors.map(
    (tensor): BundleTensor => ({ ...tensor, crc32c: checksums.get(tensor.name) ?? tensor.crc32c }),
  );
  await writeDurably(
    join(partialPath, "bundle.json"),
    encodeBundleJson({ ...document, tensors, calibration, files }),
  );
}

function tableView(bytes: Uint8Array, offsetBytes: number, count: number): Uint32Array {
  // A copy, since a file's buffer may begin anywhere. Bundles and all hosts of Node are little-endian.
  return new Uint32Array(bytes.slice(offsetBytes, offsetBytes + count * 4).buffer);
}

/** Permutes the tables of checksums and composes the order: the new one also names neurons of the checkpoint. */
async function rewriteTables(rewrite: Rewrite): Promise<Uint8Array> {
  const bytes = new Uint8Array(await readFile(join(rewrite.path, CHECKSUMS_FILE)));
  const counts = rewrite.document.layers.map((layer) => layer.neuronCount);
  for (const [layer, { crcOffsetBytes, orderOffsetBytes }] of planChecksums(counts).tables.entries()) {
    const order = rewrite.order[layer]!;
    for (const offsetBytes of [crcOffsetBytes, orderOffsetBytes]) {
      const before = tableView(bytes, offsetBytes, order.length);
      bytes.set(new Uint8Array(order.map((index) => before[index]!).buffer), offsetBytes);
    }
  }
  await writeDurably(join(rewrite.partialPath, CHECKSUMS_FILE), bytes);
  return bytes;
}

/** The order a tensor's rows (or, for vectors, elements) follow, or null where it has nothing to do with neurons. */
function orderOf(rewrite: Rewrite, name: string): Uint32Array | null {
  const layerIndex = orderLayerOf(name);
  return layerIndex === null ? null : (rewrite.order[layerIndex] ?? null);
}

function stepsOf(
  rewrite: Rewrite,
  fileIndex: number,
  recordChecksums: readonly Uint32Array[],
): RewriteStep[] {
  const { document, order } = rewrite;
  if (fileIndex === 1) {
    const { strideBytes } = document.record;
    return document.layers.map(({ offsetBytes }, layer) => ({
      name: `layers.${layer}.records`,
      offsetBytes,
      rowBytes: strideBytes,
      order: order[layer]!,
      rowChecksums: recordChecksums[layer]!,
      checksum: null,
    }));
  }
  const steps: RewriteStep[] = [];
  for (const tensor of document.tensors) {
    const indices = tensor.fileIndex === fileIndex ? orderOf(rewrite, tensor.name) : null;
    if (indices === null) continue;
    const { name, offsetBytes, lengthBytes } = tensor;
    if (lengthBytes % indices.length !== 0) {
      throw new FlashlmError(
        "BUNDLE_FORMAT",
        `tensor ${name} of ${lengthBytes} bytes does not have one row per neuron (${indices.length}): make the bundle again`,
        { name },
      );
    }
    steps.push({
      name,
      offsetBytes,
      rowBytes: lengthBytes / indices.length,
      order: indices,
      rowChecksums: null,
      checksum: tensor.crc32c,
    });
  }
  return steps.sort((a, b) => a.offsetBytes - b.offsetBytes);
}

/** Rewrites one file of weights: what no step names is copied as it is. */
async function rewriteWeights(
  rewrite: Rewrite,
  fileIndex: number,
  checksums: Map<string, number>,
): Promise<void> {
  const name = BUNDLE_FILES[fileIndex]!;
  const entry = rewrite.document.files.find((file) => file.name === name)!;
  const steps = stepsOf(rewrite, fileIndex, await newRecordChecksums(rewrite));
  const handles: FileHandle[] = [];
  try {
    const from = await open(join(rewrite.path, name), "r");
    handles.push(from);
    const to = await open(join(rewrite.partialPath, name), "w");
    handles.push(to);
    let end = 0;
    for (const step of steps) {
      await copyRange(from, to, end, step.offsetBytes, rewrite.onBytes);
      checksums.set(step.name, await permuteRows(from, to, step, rewrite.onBytes));
      end = step.offsetBytes + step.order.length * step.rowBytes;
    }
    await copyRange(from, to, end, entry.sizeBytes, rewrite.onBytes);
    await to.sync();
  } finally {
    for (const handle of handles) await handle.close();
  }
}

/** Per layer: checksum each record of the new file must have. */
async function newRecordChecksums(rewrite: Rewrite): Promise<readonly Uint32Array[]> {
  const bytes = new Uint8Array(await readFile(join(rewrite.partialPath, CHECKSUMS_FILE)));
  const counts = rewrite.document.layers.map((layer) => layer.neuronCount);
  return planChecksums(counts).tables.map((table, layer) =>
    tableView(bytes, table.crcOffsetBytes, counts[layer]!),
  );
}

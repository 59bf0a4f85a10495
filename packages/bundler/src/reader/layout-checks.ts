import {
  BUNDLE_FILES,
  BUNDLE_PAGE_BYTES,
  type BundleManifest,
  type BundleTensor,
  FlashlmError,
  isBlockDtype,
  rowBytes,
  TENSOR_ALIGNMENT_BYTES,
} from "@flashlm/contracts";
import type { BundleDocument, BundleFileEntry } from "../format/bundle-json.js";
import { CHECKSUMS_FILE } from "../format/bundle-plan.js";
import { isPredictorTensor } from "../format/head-tensors.js";
import { NEURON_TOTAL_MAX } from "../format/limits.js";
import { fitsBlocks, recordLayout, recordStrides } from "../format/record-layout.js";

function refuse(path: string, fault: string): never {
  throw new FlashlmError("BUNDLE_FORMAT", `${path}: ${fault}: make the bundle again`, { path });
}

/** Checks that records, layers, tensors and files of a bundle fit the model and one another. @throws BUNDLE_FORMAT, BUNDLE_LIMIT. */
export function checkLayout(document: BundleDocument, path: string): void {
  const files = checkFiles(document, path);
  checkLayers(document, files.get(BUNDLE_FILES[1])!.sizeBytes, path);
  checkTensors(document, files, path);
  const { calibration, layers } = document;
  if (calibration === null) return;
  const lists = [calibration.activeShareByLayer, ...Object.values(calibration.gateThresholds)];
  if (lists.some((list) => list.length !== layers.length))
    refuse(path, `calibration needs one number per layer (${layers.length})`);
}

function checkFiles(document: BundleDocument, path: string): Map<string, BundleFileEntry> {
  const files = new Map(document.files.map((file) => [file.name, file]));
  if (files.size !== document.files.length) refuse(path, "a file is listed twice");
  const hasPredictor = document.tensors.some((tensor) => tensor.fileIndex === 2);
  for (const name of [
    BUNDLE_FILES[0],
    BUNDLE_FILES[1],
    CHECKSUMS_FILE,
    ...(hasPredictor ? [BUNDLE_FILES[2]] : []),
  ]) {
    if (!files.has(name)) refuse(path, `${name} is not listed`);
  }
  if (!hasPredictor && files.has(BUNDLE_FILES[2]))
    refuse(path, `${BUNDLE_FILES[2]} is listed, but has no tensors`);
  for (const file of document.files) {
    const isWeights = (BUNDLE_FILES as readonly string[]).includes(file.name);
    if (isWeights !== (file.crc32c === null))
      refuse(path, `${file.name} ${isWeights ? "must not" : "must"} have a checksum of its own`);
  }
  return files;
}

function checkLayers(document: BundleManifest, sizeBytes: number, path: string): void {
  const { model, record, layers, dtype } = document;
  if (isBlockDtype(dtype) && !fitsBlocks(model.hiddenSize))
    refuse(path, `${dtype} does not fit a hidden size of ${model.hiddenSize}`);
  const expected = recordLayout(model.ffn.kind, model.hiddenSize, dtype);
  const last = expected.parts.at(-1)!;
  const strides = recordStrides(last.offsetBytes + last.lengthBytes);
  const same =
    record.hiddenSize === expected.hiddenSize &&
    strides.includes(record.strideBytes) &&
    record.parts.length === expected.parts.length;
  const sameParts = expected.parts.every((part, index) => {
    const found = record.parts[index];
    return (
      found?.part === part.part &&
      found.dtype === part.dtype &&
      found.offsetBytes === part.offsetBytes &&
      found.lengthBytes === part.lengthBytes
    );
  });
  if (!same || !sameParts)
    refuse(path, `the record layout is not that of ${dtype} with a hidden size of ${model.hiddenSize}`);
  if (layers.length !== model.layerCount)
    refuse(path, `${layers.length} layers are listed, the model has ${model.layerCount}`);
  const neuronTotal = layers.length * model.ffn.neuronCount;
  if (neuronTotal > NEURON_TOTAL_MAX) {
    throw new FlashlmError(
      "BUNDLE_LIMIT",
      `${path} has ${neuronTotal} neurons, expected at most ${NEURON_TOTAL_MAX}`,
      { path, neuronTotal },
    );
  }
  let end = BUNDLE_PAGE_BYTES;
  for (const [index, layer] of layers.entries()) {
    if (layer.neuronCount !== model.ffn.neuronCount)
      refuse(path, `layer ${index} has ${layer.neuronCount} neurons, the model ${model.ffn.neuronCount}`);
    if (layer.offsetBytes % BUNDLE_PAGE_BYTES !== 0 || layer.offsetBytes < end)
      refuse(path, `layer ${index} begins at ${layer.offsetBytes}, expected a page from ${end} on`);
    end = layer.offsetBytes + layer.neuronCount * record.strideBytes;
  }
  if (end > sizeBytes) refuse(path, `the records end at ${end}, their file at ${sizeBytes}`);
}

function layerOf(name: string): number {
  const match = /^layers\.(\d{1,4})\./.exec(name);
  return match === null ? Number.POSITIVE_INFINITY : Number(match[1]);
}

function checkTensors(
  document: BundleDocument,
  files: ReadonlyMap<string, BundleFileEntry>,
  path: string,
): void {
  const names = new Set(document.tensors.map((tensor) => tensor.name));
  if (names.size !== document.tensors.length) refuse(path, "a tensor is listed twice");
  for (const tensor of document.tensors) checkTensor(document, tensor, path);
  for (const fileIndex of [0, 2] as const) {
    const tensors = document.tensors
      .filter((tensor) => tensor.fileIndex === fileIndex)
      .sort((a, b) => a.offsetBytes - b.offsetBytes);
    let end = BUNDLE_PAGE_BYTES;
    let previousLayer = -1;
    for (const { name, offsetBytes, lengthBytes } of tensors) {
      if (offsetBytes < end) refuse(path, `${name} begins at ${offsetBytes}, within what ends at ${end}`);
      end = offsetBytes + lengthBytes;
      const layer = layerOf(name);
      if (layer < previousLayer) refuse(path, `${name} stands behind tensors of layer ${previousLayer}`);
      if (layer !== previousLayer && offsetBytes % BUNDLE_PAGE_BYTES !== 0)
        refuse(path, `${name} begins a layer, but no page`);
      previousLayer = layer;
    }
    const sizeBytes = files.get(BUNDLE_FILES[fileIndex])?.sizeBytes ?? 0;
    if (tensors.length > 0 && end > sizeBytes)
      refuse(path, `${tensors.at(-1)!.name} ends at ${end}, its file at ${sizeBytes}`);
  }
}

function checkTensor(document: BundleManifest, tensor: BundleTensor, path: string): void {
  const { name, dtype, rowCount, columnCount, offsetBytes, lengthBytes } = tensor;
  const layer = layerOf(name);
  if (name.startsWith("layers.") && !(layer < document.model.layerCount))
    refuse(path, `${name} is of no layer of the model`);
  if (isBlockDtype(dtype) && !fitsBlocks(columnCount))
    refuse(path, `${name} has rows of ${columnCount}, which ${dtype} does not fit`);
  const expectedBytes = rowCount * rowBytes(dtype, columnCount);
  if (lengthBytes !== expectedBytes)
    refuse(path, `${name} has ${lengthBytes} bytes, its shape needs ${expectedBytes}`);
  if (offsetBytes % TENSOR_ALIGNMENT_BYTES !== 0)
    refuse(path, `${name} begins at ${offsetBytes}, no multiple of ${TENSOR_ALIGNMENT_BYTES}`);
  if (isPredictorTensor(name) !== (tensor.fileIndex === 2)) refuse(path, `${name} is in the wrong file`);
}

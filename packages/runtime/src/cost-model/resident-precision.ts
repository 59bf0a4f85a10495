import {
  alignUp,
  type BundleIndex,
  type BundleTensor,
  residentMatrixDtype,
  rowBytes,
  TENSOR_ALIGNMENT_BYTES,
  type WeightDtype,
} from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES, layerBlock } from "../blocks.js";
import { headTensor } from "../head-tiles.js";
import type { KernelSpeed } from "./kernel-speed.js";

/** dtype of most bytes of a bundle's attention projections, token embedding and head. */
export function residentDtypeOf({ manifest }: BundleIndex): WeightDtype {
  const bytesByDtype = new Map<WeightDtype, number>();
  for (const tensor of manifest.tensors) {
    if (tensor.fileIndex !== 0 || residentMatrixDtype(manifest.dtype, tensor) === null) continue;
    bytesByDtype.set(tensor.dtype, (bytesByDtype.get(tensor.dtype) ?? 0) + tensor.lengthBytes);
  }
  const [most] = [...bytesByDtype].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? manifest.dtype;
}

/**
 * The index that a bundle would have with its attention projections, token embedding and head in another dtype: for plans and forecasts, since
 * nothing of it is on flash. Pure.
 */
export function withResidentDtype(bundle: BundleIndex, residentDtype: WeightDtype): BundleIndex {
  const { manifest } = bundle;
  const residents = placed(
    manifest.tensors
      .filter(({ fileIndex }) => fileIndex === 0)
      .map((tensor): BundleTensor => {
        const dtype = residentMatrixDtype(residentDtype, tensor) ?? tensor.dtype;
        return { ...tensor, dtype, lengthBytes: tensor.rowCount * rowBytes(dtype, tensor.columnCount) };
      }),
  );
  const tensors = [...residents, ...manifest.tensors.filter(({ fileIndex }) => fileIndex !== 0)];
  const byName = new Map(residents.map((tensor) => [tensor.name, tensor]));
  const bytesOf = (list: readonly BundleTensor[]): number =>
    list.reduce((total, { fileIndex, lengthBytes }) => total + (fileIndex === 0 ? lengthBytes : 0), 0);
  return {
    contractVersion: 1,
    path: bundle.path,
    filePaths: bundle.filePaths,
    manifest: { ...manifest, residentDtype, tensors },
    weightBytes: bundle.weightBytes + bytesOf(residents) - bytesOf(manifest.tensors),
    tensor: (name) => byName.get(name) ?? bundle.tensor(name),
    hasTensor: (name) => bundle.hasTensor(name),
    neuronExtent: (layerIndex, neuronId) => bundle.neuronExtent(layerIndex, neuronId),
    recordChecksums: (layerIndex) => bundle.recordChecksums(layerIndex),
    neuronOrder: (layerIndex) => bundle.neuronOrder(layerIndex),
  };
}

/** Tensors in the order of their file, one behind the other: a layer, and each tensor of none, begins a page. */
function placed(tensors: readonly BundleTensor[]): BundleTensor[] {
  let endBytes = BLOCK_ALIGNMENT_BYTES;
  let previous = "";
  return [...tensors]
    .sort((a, b) => a.offsetBytes - b.offsetBytes)
    .map((tensor) => {
      const group = /^layers\.\d+\./.exec(tensor.name)?.[0] ?? tensor.name;
      const alignment = group === previous ? TENSOR_ALIGNMENT_BYTES : BLOCK_ALIGNMENT_BYTES;
      const offsetBytes = alignUp(endBytes, alignment);
      endBytes = offsetBytes + tensor.lengthBytes;
      previous = group;
      return { ...tensor, offsetBytes };
    });
}

/**
 * What compute costs on another bundle of the same shapes, from what was measured on `bundle`: one token's projections and head wait for memory,
 * so their time scales with their bytes. Pure.
 */
export function scaleKernelSpeed(kernel: KernelSpeed, bundle: BundleIndex, other: BundleIndex): KernelSpeed {
  const ratio = (bytesOf: (index: BundleIndex) => number): number => bytesOf(other) / bytesOf(bundle);
  return {
    ...kernel,
    layerMs: kernel.layerMs * ratio((index) => layerBlock(index, 0).lengthBytes),
    headMs: kernel.headMs * ratio((index) => headTensor(index).lengthBytes),
  };
}

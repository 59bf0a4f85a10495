import type { BundleIndex, BundleTensor, LayerIndex, PredictorPart } from "@flashlm/contracts";

/** A contiguous piece of a bundle file that is loaded as a whole: the attention weights or the predictor of one layer. */
export interface BlockExtent {
  readonly fileIndex: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly tensors: readonly BundleTensor[];
}

/** The block that a list of tensors spans. They must stand in one file. */
export function spanOf(tensors: readonly BundleTensor[]): BlockExtent {
  const offsetBytes = Math.min(...tensors.map((tensor) => tensor.offsetBytes));
  const endBytes = Math.max(...tensors.map((tensor) => tensor.offsetBytes + tensor.lengthBytes));
  return { fileIndex: tensors[0]?.fileIndex ?? 0, offsetBytes, lengthBytes: endBytes - offsetBytes, tensors };
}

/** Attention, norms and biases of a layer. */
export function layerBlock(bundle: BundleIndex, layerIndex: LayerIndex): BlockExtent {
  const prefix = `layers.${layerIndex}.`;
  return spanOf(
    bundle.manifest.tensors.filter((tensor) => tensor.fileIndex === 0 && tensor.name.startsWith(prefix)),
  );
}

/** Predictor tensors of a layer, or null where the predictor has none. */
export function predictorBlock(
  bundle: BundleIndex,
  predictor: PredictorPart,
  layerIndex: LayerIndex,
): BlockExtent | null {
  const names = predictor.tensorNames(bundle.manifest);
  if (names.length === 0) return null;
  return spanOf(names.map((name) => bundle.tensor(`layers.${layerIndex}.${name}`)));
}

/** Tensors outside the layers, which stay in memory for the whole run. Embeddings that are not the head as well are read by row. */
export function pinnedTensors(bundle: BundleIndex): readonly BundleTensor[] {
  const { model, tensors } = bundle.manifest;
  return tensors.filter(
    ({ fileIndex, name }) =>
      fileIndex === 0 && !name.startsWith("layers.") && (name !== "embedding.weight" || model.tiedEmbeddings),
  );
}

/** Bytes of the largest of some extents. */
export function largestBytes(extents: readonly BlockExtent[]): number {
  return Math.max(0, ...extents.map((extent) => extent.lengthBytes));
}

/** Tensor of a layer by its short name, or undefined where the model has none. */
export function layerTensor(bundle: BundleIndex, layerIndex: number, name: string): BundleTensor | undefined {
  const full = `layers.${layerIndex}.${name}`;
  return bundle.hasTensor(full) ? bundle.tensor(full) : undefined;
}

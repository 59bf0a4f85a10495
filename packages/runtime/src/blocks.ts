import {
  BUNDLE_PAGE_BYTES,
  type BundleIndex,
  type BundleTensor,
  type LayerIndex,
  type PredictorPart,
} from "@flashlm/contracts";

/** Alignment in memory of everything large: that of blocks in a bundle, so that direct reads land in place. */
export const BLOCK_ALIGNMENT_BYTES: number = BUNDLE_PAGE_BYTES;

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

/** Predictor tensors of a layer that the bundle has, or null where there are none. */
export function predictorBlock(
  bundle: BundleIndex,
  predictor: PredictorPart,
  layerIndex: LayerIndex,
): BlockExtent | null {
  const tensors = predictor
    .tensorNames(bundle.manifest, layerIndex)
    .flatMap((name) => layerTensor(bundle, layerIndex, name) ?? []);
  return tensors.length === 0 ? null : spanOf(tensors);
}

/**
 * Tensors outside the layers, which stay in memory for the whole run. Embeddings that are not the head as well are read by row; where the head
 * does not stay in memory, it is read in tiles, and positions are read by row too.
 */
export function pinnedTensors(bundle: BundleIndex, headResident: boolean): readonly BundleTensor[] {
  const { model, tensors } = bundle.manifest;
  const away = new Set(headResident ? [] : ["embedding.weight", "head.weight", "position.weight"]);
  if (!model.tiedEmbeddings) away.add("embedding.weight");
  return tensors.filter(
    ({ fileIndex, name }) => fileIndex === 0 && !name.startsWith("layers.") && !away.has(name),
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

import type { BundleIndex } from "@flashlm/contracts";

/** The first layers of a bundle, as a bundle. */
export function firstLayers(bundle: BundleIndex, layerCount: number): BundleIndex {
  const { manifest } = bundle;
  return {
    contractVersion: 1,
    path: bundle.path,
    filePaths: bundle.filePaths,
    weightBytes: bundle.weightBytes,
    manifest: {
      ...manifest,
      model: { ...manifest.model, layerCount },
      layers: manifest.layers.slice(0, layerCount),
    },
    tensor: (name) => bundle.tensor(name),
    hasTensor: (name) => bundle.hasTensor(name),
    neuronExtent: (layerIndex, neuronId) => bundle.neuronExtent(layerIndex, neuronId),
    recordChecksums: (layerIndex) => bundle.recordChecksums(layerIndex),
    neuronOrder: (layerIndex) => bundle.neuronOrder(layerIndex),
  };
}

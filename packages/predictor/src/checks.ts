import type { BundleManifest, PredictorPart } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";

/** Number of neurons of the layer. @throws PREDICTOR_SHAPE for a layer, token count or mask that does not fit. */
export function checkTarget(
  manifest: BundleManifest,
  tokenCapacity: number,
  layerIndex: number,
  tokenCount: number,
  mask: Uint8Array,
): number {
  const neuronCount = neuronCountOf(manifest, layerIndex);
  if (!Number.isInteger(tokenCount) || tokenCount < 0 || tokenCount > tokenCapacity) {
    throw new FlashlmError(
      "PREDICTOR_SHAPE",
      `tokenCount must be a whole number from 0 to the ${tokenCapacity} tokens the predictor was made for, got ${tokenCount}`,
      { tokenCount, tokenCapacity },
    );
  }
  if (mask.length < tokenCount * neuronCount) {
    throw new FlashlmError(
      "PREDICTOR_SHAPE",
      `the mask needs ${tokenCount} x ${neuronCount} bytes for layer ${layerIndex}, got ${mask.length}`,
      { layerIndex, neededBytes: tokenCount * neuronCount, lengthBytes: mask.length },
    );
  }
  return neuronCount;
}

/** Number of neurons of the layer. @throws PREDICTOR_SHAPE for a layer that is not there, or fewer ids than it has neurons. */
export function checkIds(manifest: BundleManifest, layerIndex: number, ids: Uint32Array): number {
  const neuronCount = neuronCountOf(manifest, layerIndex);
  if (ids.length >= neuronCount) return neuronCount;
  throw new FlashlmError(
    "PREDICTOR_SHAPE",
    `layer ${layerIndex} has ${neuronCount} neurons, got room for ${ids.length} ids`,
    { layerIndex, neuronCount, idCount: ids.length },
  );
}

function neuronCountOf({ layers }: BundleManifest, layerIndex: number): number {
  const layer = layers[layerIndex];
  if (layer !== undefined) return layer.neuronCount;
  throw new FlashlmError(
    "PREDICTOR_SHAPE",
    `the bundle has layers 0 to ${layers.length - 1}, got layer ${layerIndex}`,
    { layerIndex, layerCount: layers.length },
  );
}

/** @throws PREDICTOR_OPTION unless 0 < keptShare <= 1. */
export function checkKeptShare(predictorName: string, keptShare: number): void {
  if (keptShare > 0 && keptShare <= 1) return;
  throw new FlashlmError(
    "PREDICTOR_OPTION",
    `${predictorName}: the kept share must be above 0 and at most 1 (0.6 keeps 60 % of the neurons), got ${keptShare}`,
    { predictorName, keptShare },
  );
}

/** The error of a part that this bundle cannot serve; `advice` says what to do instead. */
export function notAvailable(predictorName: string, reason: string, advice: string): FlashlmError {
  return new FlashlmError("PREDICTOR_NOT_AVAILABLE", `${predictorName}: ${reason}; ${advice}`, {
    predictorName,
  });
}

/** Name of a tensor of one layer. */
export function layerTensorName(layerIndex: number, name: string): string {
  return `layers.${layerIndex}.${name}`;
}

/** @throws PREDICTOR_NOT_AVAILABLE when a layer lacks one of the tensors. */
export function requireTensors(
  predictorName: string,
  manifest: BundleManifest,
  names: ReturnType<PredictorPart["tensorNames"]>,
  advice: string,
): void {
  const present = new Set(manifest.tensors.map((tensor) => tensor.name));
  for (let layerIndex = 0; layerIndex < manifest.layers.length; layerIndex++) {
    for (const name of names) {
      const fullName = layerTensorName(layerIndex, name);
      if (!present.has(fullName))
        throw notAvailable(predictorName, `the bundle has no tensor ${fullName}`, advice);
    }
  }
}

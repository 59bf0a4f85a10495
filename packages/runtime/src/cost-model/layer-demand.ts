import type { BundleIndex, LayerDemand, ModelDemand, PredictorPart } from "@flashlm/contracts";
import { uniformDemand } from "./expected-hits.js";

/**
 * What a predictor asks of a layer: as measured; else from the share that the bundle says it names, with neurons equally likely; null where nothing is known.
 * Measured comes first, since only it knows how much of one token's neurons the next names again.
 */
export function layerDemand(
  bundle: BundleIndex,
  predictor: PredictorPart,
  demand: ModelDemand | null,
  layerIndex: number,
): LayerDemand | null {
  const { neuronCount } = bundle.manifest.layers[layerIndex]!;
  const measured = demand?.layers[layerIndex];
  if (measured && measured.neuronCount === neuronCount) return measured;
  if (predictor.dense) return uniformDemand(neuronCount, 1);
  const share = predictor.expectedShare?.(bundle.manifest, layerIndex) ?? null;
  return share === null ? null : uniformDemand(neuronCount, share);
}

import type { BundleManifest, PredictorPart } from "@flashlm/contracts";

/**
 * How many of each layer's slots belong for good to its first neurons, the hottest in a calibrated bundle.
 *
 * - `share` given: that share of the slots.
 * - Dense runs name every neuron for every token, where any recency rule has no hits at all: all slots.
 * - Otherwise none. A window that never gives up the current token's neurons keeps its hits also where a token names more than the
 *   slots hold, and had at least as many of them as pins in every trace so far (docs/decisions/0009-cache-policies.md).
 *
 * @param share - from 0 to 1, or null to choose.
 */
export function pinnedCounts(
  manifest: BundleManifest,
  predictor: PredictorPart,
  slotCountByLayer: readonly number[],
  share: number | null,
): number[] {
  return manifest.layers.map(({ neuronCount }, layerIndex) => {
    const slotCount = slotCountByLayer[layerIndex] ?? 0;
    const most = Math.min(slotCount, neuronCount);
    if (share !== null) return Math.min(most, Math.round(slotCount * share));
    return predictor.dense ? most : 0;
  });
}

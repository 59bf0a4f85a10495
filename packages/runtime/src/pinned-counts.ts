import type { BundleManifest, PredictorPart } from "@flashlm/contracts";

/**
 * How many of each layer's slots belong for good to its first neurons, the hottest in a calibrated bundle.
 *
 * - `share` given: that share of the slots.
 * - Dense runs name every neuron for every token, where any recency rule has no hits at all: all slots.
 * - One token is expected to name more neurons than there are slots, and the order is calibrated: all slots, because then the
 *   hottest neurons hit more often than whatever the token before left behind.
 * - Otherwise none: the window holds a token's neurons, and recency adapts to the text.
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
    if (predictor.dense) return most;
    const expected = predictor.expectedShare?.(manifest, layerIndex) ?? null;
    const exceeds = expected !== null && expected * neuronCount > slotCount;
    return exceeds && manifest.calibration !== null ? most : 0;
  });
}

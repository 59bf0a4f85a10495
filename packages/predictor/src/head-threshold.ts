import type { BundleHead, HeadPoint } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";

/**
 * Threshold of a head for a share of missed contribution; between two trained points it is interpolated over the logarithm of the share.
 * An imported head without points has the threshold 0.
 * @throws PREDICTOR_OPTION for a share outside the trained points, naming them.
 */
export function headThreshold(
  name: string,
  head: BundleHead,
  missedShare: number | null,
  usual: number,
): number {
  const { points } = head;
  if (points.length === 0) {
    if (missedShare === null) return 0;
    throw new FlashlmError(
      "PREDICTOR_OPTION",
      `${name}: the head of layer ${head.layerIndex} was imported, so its missed share is not known: leave the number out, or run flashlm train-predictor`,
      { missedShare },
    );
  }
  return atShare(name, head, missedShare, usual, (point) => point.threshold);
}

/** Share of the layer's neurons that a head named on its held-out tokens at that missed share; null for an imported head. @throws as {@link headThreshold}. */
export function headPredictedShare(
  name: string,
  head: BundleHead,
  missedShare: number | null,
  usual: number,
): number | null {
  if (head.points.length === 0) return null;
  return atShare(name, head, missedShare, usual, (point) => point.predictedShare);
}

/**
 * Share of the held-out tokens' neurons that were active, which follows from any trained point: predicted is what was found of the active plus
 * what was wrong of the inactive. Null for imported heads and where the point tells nothing.
 */
export function headActiveShare({ points }: BundleHead): number | null {
  const point = points[0];
  if (point === undefined) return null;
  const { predictedShare, falseNegativeShare, falsePositiveShare } = point;
  const found = 1 - falseNegativeShare - falsePositiveShare;
  return found > 0.01 ? Math.min(1, Math.max(0, (predictedShare - falsePositiveShare) / found)) : null;
}

/** A figure of the points, interpolated over the logarithm of the missed share. */
function atShare(
  name: string,
  { points }: BundleHead,
  missedShare: number | null,
  usual: number,
  figure: (point: HeadPoint) => number,
): number {
  const shares = points.map((point) => point.missedTarget);
  const wanted = missedShare ?? Math.min(Math.max(usual, shares[0]!), shares.at(-1)!);
  const after = points.findIndex((point) => point.missedTarget >= wanted);
  if (after < 0 || wanted < shares[0]!) {
    throw new FlashlmError(
      "PREDICTOR_OPTION",
      `${name}: expected a missed share from ${shares[0]} to ${shares.at(-1)}, which the heads were trained for, got ${wanted}`,
      { missedShare: wanted, shares: shares.map(String) },
    );
  }
  const high = points[after]!;
  const low = points[after - 1];
  if (low === undefined || high.missedTarget === wanted) return figure(high);
  const part = Math.log(wanted / low.missedTarget) / Math.log(high.missedTarget / low.missedTarget);
  return figure(low) + part * (figure(high) - figure(low));
}

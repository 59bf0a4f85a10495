import type { BundleHead } from "@flashlm/contracts";
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
  if (low === undefined || high.missedTarget === wanted) return high.threshold;
  const part = Math.log(wanted / low.missedTarget) / Math.log(high.missedTarget / low.missedTarget);
  return low.threshold + part * (high.threshold - low.threshold);
}

import type { BundleManifest, PredictorContext, PredictorPart, SparsityPredictor } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { checkKeptShare, notAvailable, requireTensors } from "./checks.js";
import { EXACT_ADVICE, exactGateName } from "./exact.js";
import { createScored, type RowSelector, scoreBytes } from "./scored.js";

/** `keptShare` picks thresholds that calibration wrote; `margin` is one threshold for every layer (default 0: all that are not zero). */
export type GateThresholdOptions = { readonly keptShare: number } | { readonly margin?: number };

function calibratedThresholds(name: string, manifest: BundleManifest, keptShare: number): readonly number[] {
  const table = manifest.calibration?.gateThresholds ?? {};
  const key = Object.keys(table).find((share) => Number(share) === keptShare);
  const thresholds = key === undefined ? undefined : table[key];
  if (thresholds === undefined) {
    const shares = Object.keys(table).join(", ");
    const found =
      shares === "" ? "the bundle has not been calibrated" : `the bundle was calibrated for ${shares}`;
    const advice = `run flashlm calibrate${shares === "" ? "" : ", choose one of those shares"}, or use shadow:${keptShare}`;
    throw notAvailable(name, found, advice);
  }
  if (thresholds.length === manifest.layers.length) return thresholds;
  throw notAvailable(
    name,
    `the bundle has gate thresholds for ${thresholds.length} of ${manifest.layers.length} layers`,
    "run flashlm calibrate again",
  );
}

function gateTensorNames(name: string, manifest: BundleManifest): readonly string[] {
  const names = [exactGateName(name, manifest)];
  requireTensors(name, manifest, names, EXACT_ADVICE);
  return names;
}

function selectAbove(thresholds: Float64Array): RowSelector {
  return (layerIndex, { floats }, mask, maskStart) => {
    const threshold = thresholds[layerIndex]!;
    let keptCount = 0;
    for (let neuron = 0; neuron < floats.length; neuron++) {
      const kept = Math.abs(floats[neuron]!) <= threshold ? 0 : 1; // NaN is kept: it must reach the output
      mask[maskStart + neuron] = kept;
      keptCount += kept;
    }
    return keptCount;
  };
}

/**
 * Predicts the neurons whose `abs(act(gate))`, computed from `exact.gate`, is above a threshold: the layer's calibrated one
 * (`manifest.calibration.gateThresholds`) for `keptShare`, or `margin`. Lossless only with margin 0.
 * @throws PREDICTOR_OPTION for a share outside (0, 1] or a margin that is negative or not finite; `create` throws
 * PREDICTOR_NOT_AVAILABLE without `exact.gate` or without calibration for that share (`tensorNames` for the former).
 */
export function gateThresholdPredictor(options: GateThresholdOptions): PredictorPart {
  const keptShare = "keptShare" in options ? options.keptShare : null;
  const margin = "keptShare" in options ? 0 : (options.margin ?? 0);
  const name = keptShare === null ? `gate-margin:${margin}` : `gate:${keptShare}`;
  if (keptShare !== null) checkKeptShare(name, keptShare);
  if (!(margin >= 0 && margin < Number.POSITIVE_INFINITY)) {
    throw new FlashlmError(
      "PREDICTOR_OPTION",
      `${name}: margin must be finite and at least 0, got ${margin}`,
      {
        margin,
      },
    );
  }
  return {
    name,
    lossless: keptShare === null && margin === 0,
    dense: false,
    tensorNames: (manifest) => gateTensorNames(name, manifest),
    expectedShare: (manifest, layerIndex) =>
      keptShare ?? (margin === 0 ? (manifest.calibration?.activeShareByLayer[layerIndex] ?? null) : null),
    scratchBytes: scoreBytes,
    create(context: PredictorContext): SparsityPredictor {
      const { manifest } = context;
      const [gateName] = gateTensorNames(name, manifest);
      const thresholds =
        keptShare === null
          ? manifest.layers.map(() => margin)
          : calibratedThresholds(name, manifest, keptShare);
      return createScored(context, {
        name,
        kind: "gate",
        gateName: gateName!,
        select: selectAbove(Float64Array.from(thresholds)),
      });
    },
  };
}

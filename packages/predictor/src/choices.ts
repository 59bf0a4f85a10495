import { type BundleManifest, FlashlmError, type PredictorPart } from "@flashlm/contracts";
import { parseSparsity } from "./parse-sparsity.js";

/** A predictor that a bundle can serve, as `--sparsity` names it. */
export interface PredictorChoice {
  readonly sparsity: string;
  readonly part: PredictorPart;
}

/** With the numbers that have been measured to cost little; docs/predictors.md. */
const USUAL = ["dense", "oracle", "gate-shadow:0.1", "shadow:0.6", "lowrank:0.01", "lookahead:0.01"] as const;

/**
 * The predictors that a bundle has all tensors, heads and thresholds for, dense first. One setting of each kind: the usual one, or for gate thresholds
 * every calibrated share. Imported heads have one threshold, so they are named without a number.
 */
export function predictorChoices(manifest: BundleManifest): readonly PredictorChoice[] {
  const calibrated = Object.keys(manifest.calibration?.gateThresholds ?? {}).map((share) => `gate:${share}`);
  const trained = manifest.heads?.lowrank.every((head) => head.points.length > 0) ?? true;
  const texts = [
    ...USUAL.map((text) => (trained ? text : text.replace(/^(lowrank|lookahead):.*/, "$1"))),
    ...calibrated,
  ];
  return texts.flatMap((sparsity) => {
    const part = parseSparsity(sparsity);
    return canServe(part, manifest) ? [{ sparsity, part }] : [];
  });
}

/** Those of {@link predictorChoices} that answer as the model itself: exact prediction first, where activations are exactly zero and the bundle can say which; then dense. */
export function losslessChoices(manifest: BundleManifest): readonly PredictorChoice[] {
  const lossless = predictorChoices(manifest).filter(({ part }) => part.lossless);
  return [...lossless.filter(({ part }) => !part.dense), ...lossless.filter(({ part }) => part.dense)];
}

/** Whether a part expects a share of every layer; a forecast without counts every neuron as named. */
export function sharesKnown(manifest: BundleManifest, part: PredictorPart): boolean {
  return manifest.layers.every(
    (_, layerIndex) => (part.expectedShare?.(manifest, layerIndex) ?? null) !== null,
  );
}

function canServe(part: PredictorPart, manifest: BundleManifest): boolean {
  try {
    part.tensorNames(manifest, 0);
    part.expectedShare?.(manifest, 0); // Trained heads refuse a missed share here that they have no threshold for.
    return true;
  } catch (error) {
    if (FlashlmError.isInstance(error) && /^PREDICTOR_(NOT_AVAILABLE|OPTION)$/.test(error.code)) return false;
    throw error;
  }
}

import type { BundleManifest, PredictorContext, PredictorPart, SparsityPredictor } from "@flashlm/contracts";
import { isExactlySparse } from "@flashlm/contracts";
import { notAvailable, requireTensors } from "./checks.js";
import { EXACT_ADVICE } from "./exact.js";
import { headActiveShare } from "./head-threshold.js";
import { createScored, type RowSelector, type ScoreRow, scoreBytes } from "./scored.js";

const NAME = "oracle";

function usesUp(manifest: BundleManifest): boolean {
  return manifest.model.ffn.kind === "gated" && manifest.model.ffn.upActivation === "relu";
}

function oracleTensorNames(manifest: BundleManifest): readonly string[] {
  const { ffn } = manifest.model;
  if (!isExactlySparse(ffn) && !usesUp(manifest)) {
    throw notAvailable(
      NAME,
      `no activation of this model is ever exactly zero (its FFN uses ${ffn.activation.name})`,
      "use dense, which is lossless, or shadow:KEPT, which is not",
    );
  }
  if (ffn.bias && usesUp(manifest))
    throw notAvailable(NAME, "this model's FFN has biases behind two ReLUs", "use dense");
  const first = ffn.kind === "gated" ? "exact.gate" : "exact.up";
  const names = usesUp(manifest)
    ? ["exact.gate.weight", "exact.up.weight"]
    : [`${first}.weight`, ...(ffn.bias ? [`${first}.bias`] : [])];
  requireTensors(NAME, manifest, names, EXACT_ADVICE);
  return names;
}

function selectNonZero(
  _layerIndex: number,
  { floats }: ScoreRow,
  mask: Uint8Array,
  maskStart: number,
): number {
  let keptCount = 0;
  for (let neuron = 0; neuron < floats.length; neuron++) {
    const kept = floats[neuron] !== 0 ? 1 : 0; // NaN counts as active: it must reach the output
    mask[maskStart + neuron] = kept;
    keptCount += kept;
  }
  return keptCount;
}

/** Selects by dot products with their bias: those that the ReLU lets through. */
function selectAbove(threshold: number): RowSelector {
  return (_layerIndex, { floats }, mask, maskStart) => {
    let keptCount = 0;
    for (let neuron = 0; neuron < floats.length; neuron++) {
      const kept = floats[neuron]! <= threshold ? 0 : 1; // NaN counts as active here too
      mask[maskStart + neuron] = kept;
      keptCount += kept;
    }
    return keptCount;
  };
}

/**
 * Predicts exactly the neurons whose activation is not zero, by computing it from `exact.gate` (and `exact.up`
 * where the up projection has a ReLU too). Lossless, for the ReLU family; as costly as the gate projection itself.
 * `tensorNames` and `create` throw PREDICTOR_NOT_AVAILABLE where no activation is exactly zero, where an FFN with two
 * ReLUs has biases, or where the bundle lacks the tensors.
 */
export const oraclePredictor: PredictorPart = {
  name: NAME,
  lossless: true,
  dense: false,
  tensorNames: oracleTensorNames,
  expectedShare: (manifest, layerIndex) => {
    const head = manifest.heads?.lowrank[layerIndex];
    return manifest.calibration?.activeShareByLayer[layerIndex] ?? (head ? headActiveShare(head) : null);
  },
  scratchBytes: scoreBytes,
  create(context: PredictorContext): SparsityPredictor {
    const [gateName, secondName] = oracleTensorNames(context.manifest);
    const { activation, bias } = context.manifest.model.ffn;
    if (bias)
      return createScored(context, {
        name: NAME,
        kind: "dot",
        gateName: gateName!,
        biasName: secondName!,
        select: selectAbove(activation.threshold),
      });
    const upName = secondName;
    return createScored(context, {
      name: NAME,
      kind: upName === undefined ? "gate" : "product",
      gateName: gateName!,
      ...(upName === undefined ? {} : { upName }),
      select: selectNonZero,
    });
  },
};

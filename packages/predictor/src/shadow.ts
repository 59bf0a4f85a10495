import type { BundleManifest, PredictorContext, PredictorPart, SparsityPredictor } from "@flashlm/contracts";
import { checkKeptShare, notAvailable, requireTensors } from "./checks.js";
import { createScored, neuronCountMax, scoreBytes } from "./scored.js";
import { TopSelector } from "./top-select.js";

const TENSOR_NAMES = ["shadow.gate.weight", "shadow.up.weight", "shadow.down_norm"] as const;

function shadowTensorNames(name: string, manifest: BundleManifest): readonly string[] {
  const { ffn } = manifest.model;
  if (ffn.kind !== "gated" || ffn.bias) {
    const reason = ffn.bias ? "its FFN has biases, which the shadow leaves out" : "its FFN has no gate";
    throw notAvailable(name, `this model has no shadow: ${reason}`, "use dense");
  }
  const advice = "convert the checkpoint again with shadow tensors, or use dense";
  requireTensors(name, manifest, TENSOR_NAMES, advice);
  return TENSOR_NAMES;
}

/**
 * Keeps, per token and layer, exactly `max(1, round(keptShare * neuronCount))` neurons: those with the highest
 * contribution `abs(act(gate) * up) * norm(down)` as 4-bit copies of gate and up (the shadow) estimate it; ties go to
 * the lower id. Lossy below a share of 1.
 * @param keptShare - share of the neurons, above 0 and at most 1.
 * @throws PREDICTOR_OPTION for another share; `tensorNames` and `create` throw PREDICTOR_NOT_AVAILABLE for bundles without a shadow.
 */
export function shadowPredictor(keptShare: number): PredictorPart {
  const name = `shadow:${keptShare}`;
  checkKeptShare(name, keptShare);
  return {
    name,
    lossless: keptShare === 1,
    dense: false,
    tensorNames: (manifest) => shadowTensorNames(name, manifest),
    expectedShare: () => keptShare,
    scratchBytes: scoreBytes,
    create(context: PredictorContext): SparsityPredictor {
      const [gateName, upName, downNormName] = TENSOR_NAMES;
      shadowTensorNames(name, context.manifest);
      const selector = new TopSelector(neuronCountMax(context.manifest));
      return createScored(context, {
        name,
        kind: "contribution",
        gateName,
        upName,
        downNormName,
        select(_layerIndex, { bits }, mask, maskStart) {
          const keptCount = Math.min(bits.length, Math.max(1, Math.round(keptShare * bits.length)));
          selector.select(bits, keptCount, mask, maskStart);
          return keptCount;
        },
      });
    },
  };
}

import type { BundleManifest } from "@flashlm/contracts";
import { notAvailable } from "./checks.js";

/** The matrix that the activation function is applied to: the gate, or in a plain FFN the up projection. */
export function exactGateName(predictorName: string, manifest: BundleManifest): string {
  const { ffn } = manifest.model;
  if (ffn.bias) {
    throw notAvailable(
      predictorName,
      "this model's FFN has biases, which neuron scores leave out",
      "use dense",
    );
  }
  return ffn.kind === "gated" ? "exact.gate.weight" : "exact.up.weight";
}

/** What to do when a bundle lacks `exact.*`. */
export const EXACT_ADVICE =
  "convert the checkpoint again with exact predictor tensors, or use dense or shadow:KEPT";

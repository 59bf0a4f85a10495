import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";

/** RMS and layer normalisation. */
export function norm(op: Extract<KernelOp, { op: "norm" }>, views: Views): void {
  const rowCount = views.word(op.tokenCount) * op.rowsPerToken;
  for (let row = 0; row < rowCount; row++) {
    const source = op.source.offsetBytes / 4 + row * op.dim;
    const target = op.target.offsetBytes / 4 + row * op.dim;
    let mean = 0;
    if (op.kind === "layer") {
      for (let i = 0; i < op.dim; i++) mean += views.floats[source + i]! / op.dim;
    }
    let square = 0;
    for (let i = 0; i < op.dim; i++) square += (views.floats[source + i]! - mean) ** 2;
    const factor = 1 / Math.sqrt(square / op.dim + op.epsilon);
    for (let i = 0; i < op.dim; i++) {
      const value = (views.floats[source + i]! - mean) * factor * views.vectorAt(op.weight, i);
      views.floats[target + i] = value + views.vectorAt(op.bias, i);
    }
  }
}

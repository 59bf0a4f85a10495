import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { dotsOf } from "./quantised-dot.js";
import type { Views } from "./views.js";

/** Weights times activations. */
export function matmul(op: Extract<KernelOp, { op: "matmul" }>, views: Views): void {
  const { dtype, rowCount, columnCount, base } = op.weight;
  const weight = views.resolve(base);
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const source = op.source.offsetBytes / 4 + token * columnCount;
    const target = op.target.offsetBytes / 4 + token * rowCount;
    const dot = dotsOf(views, op.precision, source, columnCount);
    for (let row = 0; row < rowCount; row++) {
      const sum = dot(dtype, weight + row * rowBytes(dtype, columnCount));
      const value = sum + views.vectorAt(op.bias, row);
      views.floats[target + row] = op.accumulate ? views.floats[target + row]! + value : value;
    }
  }
}

import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { activate, activateUp } from "./activation.js";
import { dotsOf } from "./quantised-dot.js";
import type { Views } from "./views.js";

/** What predictors rank neurons by. */
export function neuronScores(op: Extract<KernelOp, { op: "neuronScores" }>, views: Views): void {
  const { gate, up } = op;
  const { rowCount, columnCount } = gate;
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const source = op.source.offsetBytes / 4 + token * columnCount;
    const dot = dotsOf(views, op.precision, source, columnCount);
    for (let row = 0; row < rowCount; row++) {
      const gateRow = views.resolve(gate.base) + row * rowBytes(gate.dtype, columnCount);
      let score = activate(op.activationFn, dot(gate.dtype, gateRow));
      if (op.kind !== "gate" && up !== undefined && score !== 0) {
        const upRow = views.resolve(up.base) + row * rowBytes(up.dtype, columnCount);
        score *= activateUp(op.upActivation, dot(up.dtype, upRow));
      }
      if (op.kind === "contribution") score = Math.abs(score) * views.vectorAt(op.downNorm, row);
      views.floats[op.scores.offsetBytes / 4 + token * rowCount + row] = score;
    }
  }
}

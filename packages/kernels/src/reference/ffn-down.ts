import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";
import { weightAt } from "./weights.js";

/** Adds the down projections of active neurons to the residual. */
export function ffnDown(op: Extract<KernelOp, { op: "ffnDown" }>, views: Views): void {
  const { hiddenSize, strideBytes, parts } = op.layout;
  const down = parts.find(({ part }) => part === "down")!;
  const positionCount = views.word(op.positionCount);
  const sums = new Float64Array(hiddenSize);
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const target = op.target.offsetBytes / 4 + token * hiddenSize;
    for (let i = 0; i < hiddenSize; i++) sums[i] = views.floats[target + i]!;
    for (let position = 0; position < positionCount; position++) {
      const factor = views.floatAt(op.activation, token * op.activationStride + position);
      if (factor === 0) continue;
      const row = views.record(op.addresses, position, strideBytes) + down.offsetBytes;
      for (let i = 0; i < hiddenSize; i++) sums[i]! += factor * weightAt(views, down.dtype, row, i);
    }
    for (let i = 0; i < hiddenSize; i++) views.floats[target + i] = sums[i]! + views.vectorAt(op.bias, i);
  }
}

import type { KernelOp } from "@flashlm/contracts";
import { activate, activateUp } from "./activation.js";
import { dotsOf } from "./quantised-dot.js";
import type { Views } from "./views.js";

/** Activations of the neurons of an order list. */
export function ffnActivations(op: Extract<KernelOp, { op: "ffnActivations" }>, views: Views): void {
  const { hiddenSize, strideBytes, parts } = op.layout;
  const gate = parts.find(({ part }) => part === "gate");
  const up = parts.find(({ part }) => part === "up")!;
  const end = views.word(op.orderEnd);
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const source = op.source.offsetBytes / 4 + token * hiddenSize;
    const dot = dotsOf(views, op.precision, source, hiddenSize);
    for (let k = views.word(op.orderBegin); k < end; k++) {
      const position = views.wordAt(op.order, k);
      const id = views.wordAt(op.ids, position);
      const target = op.activation.offsetBytes / 4 + token * op.activationStride + position;
      const record = views.record(op.addresses, position, strideBytes);
      if (op.mask && views.bytes[op.mask.base.offsetBytes + token * op.mask.stride + id] === 0) {
        views.floats[target] = 0;
        continue;
      }
      const upDot = dot(up.dtype, record + up.offsetBytes) + views.vectorAt(op.upBias, id);
      if (gate === undefined) {
        views.floats[target] = activate(op.activationFn, upDot);
        continue;
      }
      const gateDot = dot(gate.dtype, record + gate.offsetBytes);
      const opened = activate(op.activationFn, gateDot + views.vectorAt(op.gateBias, id));
      views.floats[target] = opened === 0 ? 0 : opened * activateUp(op.upActivation, upDot);
    }
  }
}

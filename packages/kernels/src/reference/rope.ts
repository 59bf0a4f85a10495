import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";

/** Rotary position embedding, in place. */
export function rope(op: Extract<KernelOp, { op: "rope" }>, views: Views): void {
  const half = op.rotaryDim / 2;
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const table = op.table.offsetBytes / 4 + (views.word(op.position) + token) * op.rotaryDim;
    for (let head = 0; head < op.headCount; head++) {
      const vector = op.vector.offsetBytes / 4 + (token * op.headCount + head) * op.headDim;
      for (let i = 0; i < half; i++) {
        const first = views.floats[vector + i]!;
        const second = views.floats[vector + half + i]!;
        const cosine = views.floats[table + i]!;
        const sine = views.floats[table + half + i]!;
        views.floats[vector + i] = first * cosine - second * sine;
        views.floats[vector + half + i] = second * cosine + first * sine;
      }
    }
  }
}

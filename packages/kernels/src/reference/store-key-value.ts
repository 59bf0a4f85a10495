import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";

/** Copies keys and values into the ring of the cache. */
export function storeKeyValue(op: Extract<KernelOp, { op: "storeKeyValue" }>, views: Views): void {
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const row = ((views.word(op.position) + token) % op.capacityTokens) * op.keyValueDim;
    for (const [from, to] of [
      [op.keys, op.keyCache],
      [op.values, op.valueCache],
    ] as const) {
      const source = from.offsetBytes / 4 + token * op.keyValueDim;
      views.floats.copyWithin(to.offsetBytes / 4 + row, source, source + op.keyValueDim);
    }
  }
}

import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { encodeRow } from "./encode-row.js";
import type { Views } from "./views.js";

/** Writes keys and values into the ring of the cache. */
export function storeKeyValue(op: Extract<KernelOp, { op: "storeKeyValue" }>, views: Views): void {
  const { cacheDtype = "f32", keyValueDim, capacityTokens } = op;
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const row = ((views.word(op.position) + token) % capacityTokens) * rowBytes(cacheDtype, keyValueDim);
    for (const [from, to] of [
      [op.keys, op.keyCache],
      [op.values, op.valueCache],
    ] as const) {
      const source = from.offsetBytes / 4 + token * keyValueDim;
      const vector = views.floats.subarray(source, source + keyValueDim);
      encodeRow(views, cacheDtype, vector, to.offsetBytes + row);
    }
  }
}

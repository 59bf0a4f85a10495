import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";

type AttentionOp = Extract<KernelOp, { op: "attention" }>;

function attendHead(op: AttentionOp, views: Views, token: number, head: number): void {
  const { headDim, headCount, keyValueHeadCount, capacityTokens } = op;
  const now = views.word(op.position) + token;
  // Rows older than the cache are gone, whatever the window says.
  const seen = Math.min(op.window ?? capacityTokens, capacityTokens, now + 1);
  const first = now + 1 - seen;
  const keyValueHead = Math.floor((head * keyValueHeadCount) / headCount);
  const vector = (token * headCount + head) * headDim;
  const rowAt = (index: number): number =>
    (((first + index) % capacityTokens) * keyValueHeadCount + keyValueHead) * headDim;
  const scores = new Float64Array(seen);
  for (let index = 0; index < seen; index++) {
    let sum = 0;
    for (let i = 0; i < headDim; i++) {
      sum += views.floatAt(op.query, vector + i) * views.floatAt(op.keyCache, rowAt(index) + i);
    }
    scores[index] = sum * op.scale;
  }
  const largest = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let total = 0;
  for (let index = 0; index < seen; index++) total += scores[index] = Math.exp(scores[index]! - largest);
  for (let i = 0; i < headDim; i++) {
    let sum = 0;
    for (let index = 0; index < seen; index++)
      sum += scores[index]! * views.floatAt(op.valueCache, rowAt(index) + i);
    views.floats[op.target.offsetBytes / 4 + vector + i] = sum / total;
  }
}

/** Causal grouped-query attention over the ring of keys and values. */
export function attention(op: AttentionOp, views: Views): void {
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    for (let head = 0; head < op.headCount; head++) attendHead(op, views, token, head);
  }
}

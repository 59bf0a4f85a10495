import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { softCapped } from "./elementwise.js";
import type { Views } from "./views.js";
import { weightAt } from "./weights.js";

type AttentionOp = Extract<KernelOp, { op: "attention" }>;

function scoreOf(op: AttentionOp, views: Views, head: number, distance: number, dot: number): number {
  const scaled = dot * op.scale;
  const capped = op.softCap === undefined ? scaled : softCapped(op.softCap, scaled);
  return op.alibiSlopes === undefined ? capped : capped - views.vectorAt(op.alibiSlopes, head) * distance;
}

function attendHead(op: AttentionOp, views: Views, token: number, head: number): void {
  const { cacheDtype = "f32", headDim, headCount, keyValueHeadCount, capacityTokens } = op;
  const now = views.word(op.position) + token;
  // Rows older than the cache are gone, whatever the window says.
  const seen = Math.min(op.window ?? capacityTokens, capacityTokens, now + 1);
  const first = now + 1 - seen;
  const keyValueHead = Math.floor((head * keyValueHeadCount) / headCount);
  const vector = (token * headCount + head) * headDim;
  const pitch = rowBytes(cacheDtype, keyValueHeadCount * headDim);
  const rowAt = (index: number): number =>
    ((first + index) % capacityTokens) * pitch + rowBytes(cacheDtype, keyValueHead * headDim);
  const scores = new Float64Array(seen);
  for (let index = 0; index < seen; index++) {
    const row = op.keyCache.offsetBytes + rowAt(index);
    let sum = 0;
    for (let i = 0; i < headDim; i++)
      sum += views.floatAt(op.query, vector + i) * weightAt(views, cacheDtype, row, i);
    scores[index] = scoreOf(op, views, head, seen - 1 - index, sum);
  }
  const sink = op.sinks === undefined ? Number.NEGATIVE_INFINITY : views.vectorAt(op.sinks, head);
  const largest = scores.reduce((a, b) => Math.max(a, b), sink);
  let total = Math.exp(sink - largest);
  for (let index = 0; index < seen; index++) total += scores[index] = Math.exp(scores[index]! - largest);
  for (let i = 0; i < headDim; i++) {
    let sum = 0;
    for (let index = 0; index < seen; index++) {
      sum += scores[index]! * weightAt(views, cacheDtype, op.valueCache.offsetBytes + rowAt(index), i);
    }
    views.floats[op.target.offsetBytes / 4 + vector + i] = sum / total;
  }
}

/** Causal grouped-query attention over the ring of keys and values. */
export function attention(op: AttentionOp, views: Views): void {
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    for (let head = 0; head < op.headCount; head++) attendHead(op, views, token, head);
  }
}

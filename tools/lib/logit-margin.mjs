import { readFileSync } from "node:fs";

/** Rows of the one f32 tensor that `flashlm logits` writes. */
export function readLogits(path) {
  const bytes = readFileSync(path);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const { shape } = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength)).logits;
  const start = bytes.byteOffset + 8 + headerLength;
  const floats = new Float32Array(bytes.buffer.slice(start, start + 4 * shape[0] * shape[1]));
  return Array.from({ length: shape[0] }, (_, row) => floats.subarray(row * shape[1], (row + 1) * shape[1]));
}

/** Difference of the two largest logits. */
export function marginOf(logits) {
  let best = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  for (const logit of logits) {
    if (logit > best) {
      second = best;
      best = logit;
    } else if (logit > second) second = logit;
  }
  return best - second;
}

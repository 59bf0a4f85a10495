import type { KernelOp } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { encodeRow } from "./encode-row.js";
import type { Views } from "./views.js";
import { weightAt } from "./weights.js";

type OpOf<Name extends KernelOp["op"]> = Extract<KernelOp, { op: Name }>;

/** cap * tanh(x / cap). */
export function softCapped(cap: number, x: number): number {
  return cap * Math.tanh(x / cap);
}

/** Adds a scaled vector. */
export function add(op: OpOf<"add">, views: Views): void {
  const [source, target] = [op.source.offsetBytes / 4, op.target.offsetBytes / 4];
  const count = views.word(op.tokenCount) * op.dim;
  for (let i = 0; i < count; i++) views.floats[target + i]! += op.scale * views.floats[source + i]!;
}

/** Copies a scaled vector; nothing of the source is left where the scale is 0. */
export function copy(op: OpOf<"copy">, views: Views): void {
  const [source, target] = [op.source.offsetBytes / 4, op.target.offsetBytes / 4];
  const count = views.word(op.tokenCount) * op.dim;
  for (let i = 0; i < count; i++) {
    views.floats[target + i] = op.scale === 0 ? 0 : op.scale * views.floats[source + i]!;
  }
}

/** Soft cap, in place. */
export function softCap(op: OpOf<"softCap">, views: Views): void {
  const vector = op.vector.offsetBytes / 4;
  const count = views.word(op.tokenCount) * op.dim;
  for (let i = 0; i < count; i++) views.floats[vector + i] = softCapped(op.cap, views.floats[vector + i]!);
}

/** Softmax of each row, in place. */
export function softmax(op: OpOf<"softmax">, views: Views): void {
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const first = op.vector.offsetBytes / 4 + token * op.dim;
    const row = views.floats.subarray(first, first + op.dim);
    const largest = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const shares = Float64Array.from(row, (value) => Math.exp((value - largest) / op.temperature));
    const total = shares.reduce((a, b) => a + b, 0);
    shares.forEach((share, i) => {
      row[i] = share / total;
    });
  }
}

/** Index of the largest value of each row. */
export function argmax(op: OpOf<"argmax">, views: Views): void {
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const first = op.source.offsetBytes / 4 + token * op.dim;
    let best = 0;
    for (let i = 1; i < op.dim; i++) {
      const [held, value] = [views.floats[first + best]!, views.floats[first + i]!];
      if (value > held || (Number.isNaN(held) && !Number.isNaN(value))) best = i;
    }
    views.words[op.target.offsetBytes / 4 + token] = best;
  }
}

/** Rows from one dtype to another, by way of f32. */
export function convert(op: OpOf<"convert">, views: Views): void {
  const { dim, sourceDtype, targetDtype } = op;
  const wide = new Float32Array(dim);
  for (let token = 0; token < views.word(op.tokenCount); token++) {
    const source = op.source.offsetBytes + token * rowBytes(sourceDtype, dim);
    for (let i = 0; i < dim; i++) wide[i] = weightAt(views, sourceDtype, source, i);
    encodeRow(views, targetDtype, wide, op.target.offsetBytes + token * rowBytes(targetDtype, dim));
  }
}

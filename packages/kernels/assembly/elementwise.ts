// gatherRows: dtype, rows, columns, table[2], rowIds, target, scale (f32), accumulate. norm: layer, rowsPerToken, dim, epsilon (f32), source, target, weight[2], bias[2].
// rope: position, vector, heads, headDim, rotaryDim, table. storeKeyValue: position, keys, values, keyCache, valueCache, dim, capacity, dtype.
import { axpy } from "./axpy";
import { dequantise, rowLength } from "./convert";
import { FAULT, FAULT_ROW_ID } from "./layout";
import { encodeRow } from "./quantise";
import { baseOf } from "./rows";
import { scaleFloats } from "./vectors";

/** Tokens [first, last). */
export function gatherRows(op: usize, first: i32, last: i32): void {
  const dtype = load<i32>(op);
  const columns = load<i32>(op, 8);
  const scale = load<f32>(op, 28);
  for (let t = first; t < last; t++) {
    const row = load<u32>(<usize>load<u32>(op, 20) + (<usize>t << 2));
    if (row >= load<u32>(op, 4)) {
      atomic.store<i32>(FAULT, FAULT_ROW_ID);
      continue;
    }
    const target = <usize>load<u32>(op, 24) + (<usize>t * <usize>columns << 2);
    const source = baseOf(op + 12) + <usize>row * rowLength(dtype, columns);
    if (load<u32>(op, 32) != 0) {
      axpy(dtype, scale, source, target, columns);
    } else {
      dequantise(dtype, source, target, columns);
      if (scale != 1) scaleFloats(scale, target, target, columns);
    }
  }
}

/** Sum of (x - mean)^2 in f64. */
function squares(source: usize, count: i32, mean: f64): f64 {
  const center = f64x2.splat(mean);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    const lanes = v128.load(source + (<usize>index << 2));
    const a = f64x2.sub(f64x2.promote_low_f32x4(lanes), center);
    const b = f64x2.sub(f64x2.promote_low_f32x4(v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1)), center);
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; index < count; index++) {
    const value = <f64>load<f32>(source + (<usize>index << 2)) - mean;
    sum += value * value;
  }
  return sum;
}

/** Rows [first, last). */
export function norm(op: usize, first: i32, last: i32): void {
  const layer = load<u32>(op) != 0;
  const dim = load<i32>(op, 8);
  const weight = baseOf(op + 24);
  const bias = baseOf(op + 32);
  for (let row = first; row < last; row++) {
    const source = <usize>load<u32>(op, 16) + (<usize>row * <usize>dim << 2);
    const target = <usize>load<u32>(op, 20) + (<usize>row * <usize>dim << 2);
    let mean: f64 = 0;
    if (layer) {
      for (let i = 0; i < dim; i++) mean += <f64>load<f32>(source + (<usize>i << 2));
      mean /= <f64>dim;
    }
    const factor = 1 / sqrt(squares(source, dim, mean) / <f64>dim + <f64>load<f32>(op, 12));
    for (let i: usize = 0; i < <usize>dim; i++) {
      let value = <f32>((<f64>load<f32>(source + (i << 2)) - mean) * factor) * load<f32>(weight + (i << 2));
      if (bias) value += load<f32>(bias + (i << 2));
      store<f32>(target + (i << 2), value);
    }
  }
}

/** Pairs of token and head [first, last). */
export function rope(op: usize, first: i32, last: i32): void {
  const position = load<u32>(load<u32>(op));
  const heads = load<i32>(op, 8);
  const headDim = <usize>load<u32>(op, 12);
  const rotary = <usize>load<u32>(op, 16);
  const half = rotary << 1;
  for (let unit = first; unit < last; unit++) {
    const vector = <usize>load<u32>(op, 4) + (<usize>unit * headDim << 2);
    const row = <usize>load<u32>(op, 20) + (<usize>(position + <u32>(unit / heads)) * rotary << 2);
    for (let at: usize = 0; at < half; at += 4) {
      const a = load<f32>(vector + at);
      const b = load<f32>(vector + at + half);
      const cosine = load<f32>(row + at);
      const sine = load<f32>(row + at + half);
      store<f32>(vector + at, a * cosine - b * sine);
      store<f32>(vector + at + half, b * cosine + a * sine);
    }
  }
}

/** Tokens [first, last). */
export function storeKeyValue(op: usize, first: i32, last: i32, tokens: i32): void {
  const position = load<u32>(load<u32>(op));
  const dim = load<i32>(op, 20);
  const dtype = load<i32>(op, 28);
  const bytes = rowLength(dtype, dim);
  // When more tokens come than the cache holds, the last ones stay, whichever thread is faster.
  const skip = max(0, tokens - load<i32>(op, 24));
  for (let t = max(skip, first); t < last; t++) {
    const row = <usize>((position + <u32>t) % load<u32>(op, 24));
    const from = <usize>t * <usize>dim << 2;
    encodeRow(dtype, <usize>load<u32>(op, 4) + from, <usize>load<u32>(op, 12) + row * bytes, dim);
    encodeRow(dtype, <usize>load<u32>(op, 8) + from, <usize>load<u32>(op, 16) + row * bytes, dim);
  }
}

// Two rows times four tokens in registers, for prompts.
import { loadTail } from "./convert";
import { laneSum } from "./dot";
import { multiplyAdd } from "./relaxed";

// @ts-ignore: decorator
@inline
function add(sum: v128, weights: v128, inputs: v128): v128 {
  return multiplyAdd(sum, weights, inputs);
}

/** out[t * 4 + r] = dot(row r, x t) for two f32 rows and four tokens of `count` elements. */
export function tile2x4(
  row0: usize, row1: usize, x0: usize, x1: usize, x2: usize, x3: usize, count: i32, out: usize,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  const full = <usize>(count & ~3) << 2;
  let at: usize = 0;
  for (; at + 32 <= full; at += 32) {
    let w0 = v128.load(row0 + at);
    let w1 = v128.load(row1 + at);
    let x = v128.load(x0 + at);
    a0 = add(a0, w0, x);
    b0 = add(b0, w1, x);
    x = v128.load(x1 + at);
    a1 = add(a1, w0, x);
    b1 = add(b1, w1, x);
    x = v128.load(x2 + at);
    a2 = add(a2, w0, x);
    b2 = add(b2, w1, x);
    x = v128.load(x3 + at);
    a3 = add(a3, w0, x);
    b3 = add(b3, w1, x);
    w0 = v128.load(row0 + at, 16);
    w1 = v128.load(row1 + at, 16);
    x = v128.load(x0 + at, 16);
    a0 = add(a0, w0, x);
    b0 = add(b0, w1, x);
    x = v128.load(x1 + at, 16);
    a1 = add(a1, w0, x);
    b1 = add(b1, w1, x);
    x = v128.load(x2 + at, 16);
    a2 = add(a2, w0, x);
    b2 = add(b2, w1, x);
    x = v128.load(x3 + at, 16);
    a3 = add(a3, w0, x);
    b3 = add(b3, w1, x);
  }
  const rest = count & 3;
  for (; at < (<usize>count << 2); at += 16) {
    const whole = at < full;
    const w0 = whole ? v128.load(row0 + at) : loadTail<f32>(row0 + at, rest);
    const w1 = whole ? v128.load(row1 + at) : loadTail<f32>(row1 + at, rest);
    const y0 = whole ? v128.load(x0 + at) : loadTail<f32>(x0 + at, rest);
    const y1 = whole ? v128.load(x1 + at) : loadTail<f32>(x1 + at, rest);
    const y2 = whole ? v128.load(x2 + at) : loadTail<f32>(x2 + at, rest);
    const y3 = whole ? v128.load(x3 + at) : loadTail<f32>(x3 + at, rest);
    a0 = add(a0, w0, y0);
    b0 = add(b0, w1, y0);
    a1 = add(a1, w0, y1);
    b1 = add(b1, w1, y1);
    a2 = add(a2, w0, y2);
    b2 = add(b2, w1, y2);
    a3 = add(a3, w0, y3);
    b3 = add(b3, w1, y3);
  }
  store<f32>(out, laneSum(a0));
  store<f32>(out, laneSum(b0), 4);
  store<f32>(out, laneSum(a1), 16);
  store<f32>(out, laneSum(b1), 20);
  store<f32>(out, laneSum(a2), 32);
  store<f32>(out, laneSum(b2), 36);
  store<f32>(out, laneSum(a3), 48);
  store<f32>(out, laneSum(b3), 52);
}

// Dot products of four rows at once: four independent sums hide the latency of the additions.
import { blockBytes, eight0, eight1, eight2, eight3, fourMinimums, fourScales, highFour, load4, loadTail, lowFour, spread } from "./convert";
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";
import { multiplyAdd } from "./relaxed";

/** The fixed last step of every dot product. */
// @ts-ignore: decorator
@inline
export function laneSum(sums: v128): f32 {
  return (
    f32x4.extract_lane(sums, 0) + f32x4.extract_lane(sums, 1) +
    (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3))
  );
}

// @ts-ignore: decorator
@inline
function add(sum: v128, weights: v128, inputs: v128): v128 {
  return multiplyAdd(sum, weights, inputs);
}

function dotPlain<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  const full = <usize>(count >> 2);
  const step = 4 * sizeof<T>();
  let left = full;
  for (; left >= 2; left -= 2) {
    let inputs = v128.load(x);
    sum0 = add(sum0, load4<T>(row0), inputs);
    sum1 = add(sum1, load4<T>(row1), inputs);
    sum2 = add(sum2, load4<T>(row2), inputs);
    sum3 = add(sum3, load4<T>(row3), inputs);
    inputs = v128.load(x, 16);
    sum0 = add(sum0, load4<T>(row0 + step), inputs);
    sum1 = add(sum1, load4<T>(row1 + step), inputs);
    sum2 = add(sum2, load4<T>(row2 + step), inputs);
    sum3 = add(sum3, load4<T>(row3 + step), inputs);
    row0 += 2 * step;
    row1 += 2 * step;
    row2 += 2 * step;
    row3 += 2 * step;
    x += 32;
  }
  if (left > 0) {
    const inputs = v128.load(x);
    sum0 = add(sum0, load4<T>(row0), inputs);
    sum1 = add(sum1, load4<T>(row1), inputs);
    sum2 = add(sum2, load4<T>(row2), inputs);
    sum3 = add(sum3, load4<T>(row3), inputs);
    row0 += step;
    row1 += step;
    row2 += step;
    row3 += step;
    x += 16;
  }
  const rest = count & 3;
  if (rest) {
    const inputs = loadTail<f32>(x, rest);
    sum0 = add(sum0, loadTail<T>(row0, rest), inputs);
    sum1 = add(sum1, loadTail<T>(row1, rest), inputs);
    sum2 = add(sum2, loadTail<T>(row2, rest), inputs);
    sum3 = add(sum3, loadTail<T>(row3, rest), inputs);
  }
  store<f32>(out, laneSum(sum0));
  store<f32>(out, laneSum(sum1), 4);
  store<f32>(out, laneSum(sum2), 8);
  store<f32>(out, laneSum(sum3), 12);
}

// @ts-ignore: decorator
@inline
function addEight<T>(sum: v128, words: v128, scale: v128, minimum: v128, first: v128, second: v128): v128 {
  return add(add(sum, lowFour<T>(words, scale, minimum), first), highFour<T>(words, scale, minimum), second);
}

/** Two rows after two: what four need at once does not fit 16 registers. */
function dotBlocks<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  const end = x + (<usize>count << 2);
  while (x < end) {
    const scales = fourScales(row0, row1, row2, row3);
    const minimums = fourMinimums<T>(row0, row1, row2, row3);
    const scale0 = spread(scales, 0);
    const scale1 = spread(scales, 1);
    const minimum0 = spread(minimums, 0);
    const minimum1 = spread(minimums, 1);
    let first = v128.load(x, 0);
    let second = v128.load(x, 16);
    sum0 = addEight<T>(sum0, eight0<T>(row0), scale0, minimum0, first, second);
    sum1 = addEight<T>(sum1, eight0<T>(row1), scale1, minimum1, first, second);
    first = v128.load(x, 32);
    second = v128.load(x, 48);
    sum0 = addEight<T>(sum0, eight1<T>(row0), scale0, minimum0, first, second);
    sum1 = addEight<T>(sum1, eight1<T>(row1), scale1, minimum1, first, second);
    first = v128.load(x, 64);
    second = v128.load(x, 80);
    sum0 = addEight<T>(sum0, eight2<T>(row0), scale0, minimum0, first, second);
    sum1 = addEight<T>(sum1, eight2<T>(row1), scale1, minimum1, first, second);
    first = v128.load(x, 96);
    second = v128.load(x, 112);
    sum0 = addEight<T>(sum0, eight3<T>(row0), scale0, minimum0, first, second);
    sum1 = addEight<T>(sum1, eight3<T>(row1), scale1, minimum1, first, second);
    const scale2 = spread(scales, 2);
    const scale3 = spread(scales, 3);
    const minimum2 = spread(minimums, 2);
    const minimum3 = spread(minimums, 3);
    first = v128.load(x, 0);
    second = v128.load(x, 16);
    sum2 = addEight<T>(sum2, eight0<T>(row2), scale2, minimum2, first, second);
    sum3 = addEight<T>(sum3, eight0<T>(row3), scale3, minimum3, first, second);
    first = v128.load(x, 32);
    second = v128.load(x, 48);
    sum2 = addEight<T>(sum2, eight1<T>(row2), scale2, minimum2, first, second);
    sum3 = addEight<T>(sum3, eight1<T>(row3), scale3, minimum3, first, second);
    first = v128.load(x, 64);
    second = v128.load(x, 80);
    sum2 = addEight<T>(sum2, eight2<T>(row2), scale2, minimum2, first, second);
    sum3 = addEight<T>(sum3, eight2<T>(row3), scale3, minimum3, first, second);
    first = v128.load(x, 96);
    second = v128.load(x, 112);
    sum2 = addEight<T>(sum2, eight3<T>(row2), scale2, minimum2, first, second);
    sum3 = addEight<T>(sum3, eight3<T>(row3), scale3, minimum3, first, second);
    x += 128;
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
  }
  store<f32>(out, laneSum(sum0));
  store<f32>(out, laneSum(sum1), 4);
  store<f32>(out, laneSum(sum2), 8);
  store<f32>(out, laneSum(sum3), 12);
}

/** out[r] = dot(row r, x) for four rows of `count` weights. */
export function dot4(
  dtype: i32, row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize,
): void {
  if (dtype == DTYPE_F32) dotPlain<f32>(row0, row1, row2, row3, x, count, out);
  else if (dtype == DTYPE_F16) dotPlain<u16>(row0, row1, row2, row3, x, count, out);
  else if (dtype == DTYPE_BF16) dotPlain<i16>(row0, row1, row2, row3, x, count, out);
  else if (dtype == DTYPE_Q8_0) dotBlocks<i8>(row0, row1, row2, row3, x, count, out);
  else if (dtype == DTYPE_Q4_0) dotBlocks<u8>(row0, row1, row2, row3, x, count, out);
  else dotBlocks<u64>(row0, row1, row2, row3, x, count, out);
}

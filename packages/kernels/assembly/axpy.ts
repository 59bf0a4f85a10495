// Rows times a factor, added to a target: element by element, multiply then add.
import {
  blockBytes, eight0, eight1, eight2, eight3, fourMinimums, fourScales, highFour, load1, load4, lowFour, oneMinimum, oneScale, spread,
} from "./convert";
import { axpyBlocks, axpyBlocks4 } from "./axpy-blocks";
import { axpyHalves4 } from "./halves";
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";
import { multiplyAdd } from "./relaxed";

// @ts-ignore: decorator
@inline
function add(place: usize, weights: v128, factor: v128): void {
  v128.store(place, multiplyAdd(v128.load(place), factor, weights));
}

function axpyPlain<T>(factor: f32, row: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor);
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    add(target + (<usize>index << 2), load4<T>(row + <usize>index * sizeof<T>()), lanes);
  }
  for (; index < count; index++) {
    const place = target + (<usize>index << 2);
    store<f32>(place, load<f32>(place) + factor * load1<T>(row + <usize>index * sizeof<T>()));
  }
}

function axpyMinimums<T>(factor: f32, row: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor);
  const end = target + (<usize>count << 2);
  while (target < end) {
    const scale = oneScale(row);
    const minimum = oneMinimum<T>(row);
    let words = eight0<T>(row);
    add(target + 0, lowFour<T>(words, scale, minimum), lanes);
    add(target + 16, highFour<T>(words, scale, minimum), lanes);
    words = eight1<T>(row);
    add(target + 32, lowFour<T>(words, scale, minimum), lanes);
    add(target + 48, highFour<T>(words, scale, minimum), lanes);
    words = eight2<T>(row);
    add(target + 64, lowFour<T>(words, scale, minimum), lanes);
    add(target + 80, highFour<T>(words, scale, minimum), lanes);
    words = eight3<T>(row);
    add(target + 96, lowFour<T>(words, scale, minimum), lanes);
    add(target + 112, highFour<T>(words, scale, minimum), lanes);
    row += blockBytes<T>();
    target += 128;
  }
}

/** target += factor * row, element by element. */
export function axpy(dtype: i32, factor: f32, row: usize, target: usize, count: i32): void {
  if (dtype == DTYPE_F32) axpyPlain<f32>(factor, row, target, count);
  else if (dtype == DTYPE_F16) axpyPlain<u16>(factor, row, target, count);
  else if (dtype == DTYPE_BF16) axpyPlain<i16>(factor, row, target, count);
  else if (dtype == DTYPE_Q8_0) axpyBlocks<i8>(factor, row, target, count);
  else if (dtype == DTYPE_Q4_0) axpyBlocks<u8>(factor, row, target, count);
  else axpyMinimums<u64>(factor, row, target, count);
}

function axpyPlain4<T>(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): void {
  const lanes0 = v128.load32_splat(factors);
  const lanes1 = v128.load32_splat(factors, 4);
  const lanes2 = v128.load32_splat(factors, 8);
  const lanes3 = v128.load32_splat(factors, 12);
  const end = target + (<usize>count << 2);
  for (; target + 16 <= end; target += 16) {
    let sum = multiplyAdd(v128.load(target), lanes0, load4<T>(row0));
    sum = multiplyAdd(sum, lanes1, load4<T>(row1));
    sum = multiplyAdd(sum, lanes2, load4<T>(row2));
    sum = multiplyAdd(sum, lanes3, load4<T>(row3));
    v128.store(target, sum);
    row0 += 4 * sizeof<T>();
    row1 += 4 * sizeof<T>();
    row2 += 4 * sizeof<T>();
    row3 += 4 * sizeof<T>();
  }
  for (; target < end; target += 4) {
    let sum = load<f32>(target) + load<f32>(factors) * load1<T>(row0);
    sum += load<f32>(factors, 4) * load1<T>(row1);
    sum += load<f32>(factors, 8) * load1<T>(row2);
    sum += load<f32>(factors, 12) * load1<T>(row3);
    store<f32>(target, sum);
    row0 += sizeof<T>();
    row1 += sizeof<T>();
    row2 += sizeof<T>();
    row3 += sizeof<T>();
  }
}

/** Adds eight weights of each of four rows to two vectors of the target. */
// @ts-ignore: decorator
@inline
function sumLow<T>(held: v128, words0: v128, words1: v128, words2: v128, words3: v128, scales: v128, minimums: v128, factors: v128): v128 {
  let sum = multiplyAdd(held, spread(factors, 0), lowFour<T>(words0, spread(scales, 0), spread(minimums, 0)));
  sum = multiplyAdd(sum, spread(factors, 1), lowFour<T>(words1, spread(scales, 1), spread(minimums, 1)));
  sum = multiplyAdd(sum, spread(factors, 2), lowFour<T>(words2, spread(scales, 2), spread(minimums, 2)));
  return multiplyAdd(sum, spread(factors, 3), lowFour<T>(words3, spread(scales, 3), spread(minimums, 3)));
}

// @ts-ignore: decorator
@inline
function sumHigh<T>(held: v128, words0: v128, words1: v128, words2: v128, words3: v128, scales: v128, minimums: v128, factors: v128): v128 {
  let sum = multiplyAdd(held, spread(factors, 0), highFour<T>(words0, spread(scales, 0), spread(minimums, 0)));
  sum = multiplyAdd(sum, spread(factors, 1), highFour<T>(words1, spread(scales, 1), spread(minimums, 1)));
  sum = multiplyAdd(sum, spread(factors, 2), highFour<T>(words2, spread(scales, 2), spread(minimums, 2)));
  return multiplyAdd(sum, spread(factors, 3), highFour<T>(words3, spread(scales, 3), spread(minimums, 3)));
}

function axpyMinimums4<T>(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): void {
  const lanes = v128.load(factors);
  const end = target + (<usize>count << 2);
  for (; target < end; target += 128) {
    const scales = fourScales(row0, row1, row2, row3);
    const minimums = fourMinimums<T>(row0, row1, row2, row3);
    let words0 = eight0<T>(row0);
    let words1 = eight0<T>(row1);
    let words2 = eight0<T>(row2);
    let words3 = eight0<T>(row3);
    v128.store(target, sumLow<T>(v128.load(target, 0), words0, words1, words2, words3, scales, minimums, lanes), 0);
    v128.store(target, sumHigh<T>(v128.load(target, 16), words0, words1, words2, words3, scales, minimums, lanes), 16);
    words0 = eight1<T>(row0);
    words1 = eight1<T>(row1);
    words2 = eight1<T>(row2);
    words3 = eight1<T>(row3);
    v128.store(target, sumLow<T>(v128.load(target, 32), words0, words1, words2, words3, scales, minimums, lanes), 32);
    v128.store(target, sumHigh<T>(v128.load(target, 48), words0, words1, words2, words3, scales, minimums, lanes), 48);
    words0 = eight2<T>(row0);
    words1 = eight2<T>(row1);
    words2 = eight2<T>(row2);
    words3 = eight2<T>(row3);
    v128.store(target, sumLow<T>(v128.load(target, 64), words0, words1, words2, words3, scales, minimums, lanes), 64);
    v128.store(target, sumHigh<T>(v128.load(target, 80), words0, words1, words2, words3, scales, minimums, lanes), 80);
    words0 = eight3<T>(row0);
    words1 = eight3<T>(row1);
    words2 = eight3<T>(row2);
    words3 = eight3<T>(row3);
    v128.store(target, sumLow<T>(v128.load(target, 96), words0, words1, words2, words3, scales, minimums, lanes), 96);
    v128.store(target, sumHigh<T>(v128.load(target, 112), words0, words1, words2, words3, scales, minimums, lanes), 112);
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
  }
}

/** Four rows in one pass over the target, in order; the sums are those of four single passes. */
export function axpy4(
  dtype: i32, factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32,
): void {
  if (dtype == DTYPE_F16 && axpyHalves4(factors, row0, row1, row2, row3, target, count)) return;
  if (dtype == DTYPE_F32) axpyPlain4<f32>(factors, row0, row1, row2, row3, target, count);
  else if (dtype == DTYPE_F16) axpyPlain4<u16>(factors, row0, row1, row2, row3, target, count);
  else if (dtype == DTYPE_BF16) axpyPlain4<i16>(factors, row0, row1, row2, row3, target, count);
  else if (dtype == DTYPE_Q8_0) axpyBlocks4<i8>(factors, row0, row1, row2, row3, target, count);
  else if (dtype == DTYPE_Q4_0) axpyBlocks4<u8>(factors, row0, row1, row2, row3, target, count);
  else axpyMinimums4<u64>(factors, row0, row1, row2, row3, target, count);
}

// Rows of q8_0 and q4_0 blocks times factors, added to a target: number by number, each times (factor * scale).
// Numbers become f32 as the top bytes of words, which makes them 2^24 too large; the factor makes up for it.
import { SELECT_BYTES } from "./constants";
import { blockBytes, firstNumbers, fourScales, lastNumbers, oneScale, spread } from "./convert";
import { multiplyAdd, topBytes } from "./relaxed";

/** 2^-24. */
const TOP_BYTE: f32 = 5.9604644775390625e-8;

// @ts-ignore: decorator
@inline
function four(numbers: v128, quarter: i32, selector: v128): v128 {
  return f32x4.convert_i32x4_s(topBytes(numbers, quarter, selector));
}

// @ts-ignore: decorator
@inline
function add16(target: usize, numbers: v128, factor: v128): void {
  v128.store(target, multiplyAdd(v128.load(target), four(numbers, 0, v128.load(SELECT_BYTES)), factor));
  v128.store(target, multiplyAdd(v128.load(target, 16), four(numbers, 1, v128.load(SELECT_BYTES, 16)), factor), 16);
  v128.store(target, multiplyAdd(v128.load(target, 32), four(numbers, 2, v128.load(SELECT_BYTES, 32)), factor), 32);
  v128.store(target, multiplyAdd(v128.load(target, 48), four(numbers, 3, v128.load(SELECT_BYTES, 48)), factor), 48);
}

/** One row. */
export function axpyBlocks<T>(factor: f32, row: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor * TOP_BYTE);
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    const scaled = f32x4.mul(lanes, oneScale(row));
    add16(target, firstNumbers<T>(row), scaled);
    add16(target + 64, lastNumbers<T>(row), scaled);
    row += blockBytes<T>();
  }
}

// @ts-ignore: decorator
@inline
function sumFour(
  held: v128, quarter: i32, selector: v128,
  numbers0: v128, numbers1: v128, numbers2: v128, numbers3: v128, factor0: v128, factor1: v128, factor2: v128, factor3: v128,
): v128 {
  let sum = multiplyAdd(held, four(numbers0, quarter, selector), factor0);
  sum = multiplyAdd(sum, four(numbers1, quarter, selector), factor1);
  sum = multiplyAdd(sum, four(numbers2, quarter, selector), factor2);
  return multiplyAdd(sum, four(numbers3, quarter, selector), factor3);
}

/** Four rows in one pass over the target, in order. Meanwhile a byte of each block of four other rows is loaded, so that their lines arrive. */
export function axpyBlocks4<T>(
  factors: usize, row0: usize, row1: usize, row2: usize, row3: usize,
  next0: usize, next1: usize, next2: usize, next3: usize, target: usize, count: i32,
): u32 {
  const lanes = f32x4.mul(v128.load(factors), f32x4.splat(TOP_BYTE));
  const select0 = v128.load(SELECT_BYTES);
  const select1 = v128.load(SELECT_BYTES, 16);
  const select2 = v128.load(SELECT_BYTES, 32);
  const select3 = v128.load(SELECT_BYTES, 48);
  let fetched: u32 = 0;
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    fetched |= load<u8>(next0) | load<u8>(next1) | load<u8>(next2) | load<u8>(next3);
    const scaled = f32x4.mul(fourScales(row0, row1, row2, row3), lanes);
    const f0 = spread(scaled, 0);
    const f1 = spread(scaled, 1);
    const f2 = spread(scaled, 2);
    const f3 = spread(scaled, 3);
    let n0 = firstNumbers<T>(row0);
    let n1 = firstNumbers<T>(row1);
    let n2 = firstNumbers<T>(row2);
    let n3 = firstNumbers<T>(row3);
    v128.store(target, sumFour(v128.load(target), 0, select0, n0, n1, n2, n3, f0, f1, f2, f3));
    v128.store(target, sumFour(v128.load(target, 16), 1, select1, n0, n1, n2, n3, f0, f1, f2, f3), 16);
    v128.store(target, sumFour(v128.load(target, 32), 2, select2, n0, n1, n2, n3, f0, f1, f2, f3), 32);
    v128.store(target, sumFour(v128.load(target, 48), 3, select3, n0, n1, n2, n3, f0, f1, f2, f3), 48);
    n0 = lastNumbers<T>(row0);
    n1 = lastNumbers<T>(row1);
    n2 = lastNumbers<T>(row2);
    n3 = lastNumbers<T>(row3);
    v128.store(target, sumFour(v128.load(target, 64), 0, select0, n0, n1, n2, n3, f0, f1, f2, f3), 64);
    v128.store(target, sumFour(v128.load(target, 80), 1, select1, n0, n1, n2, n3, f0, f1, f2, f3), 80);
    v128.store(target, sumFour(v128.load(target, 96), 2, select2, n0, n1, n2, n3, f0, f1, f2, f3), 96);
    v128.store(target, sumFour(v128.load(target, 112), 3, select3, n0, n1, n2, n3, f0, f1, f2, f3), 112);
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
    next0 += blockBytes<T>();
    next1 += blockBytes<T>();
    next2 += blockBytes<T>();
    next3 += blockBytes<T>();
  }
  return fetched;
}

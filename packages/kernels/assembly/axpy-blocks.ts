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

// @ts-ignore: decorator
@inline
function addRows<T>(
  row0: usize, row1: usize, row2: usize, row3: usize, f0: v128, f1: v128, f2: v128, f3: v128, target: usize,
  select0: v128, select1: v128, select2: v128, select3: v128,
): void {
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
}

/** Four rows in one pass over the target, in order. */
export function axpyBlocks4<T>(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): void {
  const lanes = f32x4.mul(v128.load(factors), f32x4.splat(TOP_BYTE));
  const select0 = v128.load(SELECT_BYTES);
  const select1 = v128.load(SELECT_BYTES, 16);
  const select2 = v128.load(SELECT_BYTES, 32);
  const select3 = v128.load(SELECT_BYTES, 48);
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    const scaled = f32x4.mul(fourScales(row0, row1, row2, row3), lanes);
    const f0 = spread(scaled, 0);
    const f1 = spread(scaled, 1);
    const f2 = spread(scaled, 2);
    const f3 = spread(scaled, 3);
    addRows<T>(row0, row1, row2, row3, f0, f1, f2, f3, target, select0, select1, select2, select3);
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
  }
}

// @ts-ignore: decorator
@inline
function addGroup<T>(
  row0: usize, row1: usize, row2: usize, row3: usize, factors: usize, target: usize,
  select0: v128, select1: v128, select2: v128, select3: v128,
): void {
  // Spread by loads: shuffles have fewer ports, and the loop needs them for the numbers.
  v128.store(factors, f32x4.mul(fourScales(row0, row1, row2, row3), v128.load(factors)), 32);
  const f0 = v128.load32_splat(factors, 32);
  const f1 = v128.load32_splat(factors, 36);
  const f2 = v128.load32_splat(factors, 40);
  const f3 = v128.load32_splat(factors, 44);
  addRows<T>(row0, row1, row2, row3, f0, f1, f2, f3, target, select0, select1, select2, select3);
}

/** Eight rows; `group` holds their factors and then their addresses. 64 bytes of scratch lie two groups on. */
export function axpyBlocks8<T>(group: usize, target: usize, count: i32): void {
  const factors = group + 128;
  v128.store(factors, f32x4.mul(v128.load(group), f32x4.splat(TOP_BYTE)));
  v128.store(factors, f32x4.mul(v128.load(group, 16), f32x4.splat(TOP_BYTE)), 16);
  const select0 = v128.load(SELECT_BYTES);
  const select1 = v128.load(SELECT_BYTES, 16);
  const select2 = v128.load(SELECT_BYTES, 32);
  const select3 = v128.load(SELECT_BYTES, 48);
  let row0 = <usize>load<u32>(group, 32);
  let row1 = <usize>load<u32>(group, 36);
  let row2 = <usize>load<u32>(group, 40);
  let row3 = <usize>load<u32>(group, 44);
  let row4 = <usize>load<u32>(group, 48);
  let row5 = <usize>load<u32>(group, 52);
  let row6 = <usize>load<u32>(group, 56);
  let row7 = <usize>load<u32>(group, 60);
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    addGroup<T>(row0, row1, row2, row3, factors, target, select0, select1, select2, select3);
    addGroup<T>(row4, row5, row6, row7, factors + 16, target, select0, select1, select2, select3);
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
    row4 += blockBytes<T>();
    row5 += blockBytes<T>();
    row6 += blockBytes<T>();
    row7 += blockBytes<T>();
  }
}

/** Numbers of a row as f32, 2^24 too large, and the scale of each block, 16 bytes apart. */
export function storeBlocks<T>(row: usize, target: usize, scales: usize, count: i32): void {
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    v128.store32_lane(scales, oneScale(row), 0);
    for (let half: usize = 0; half < 128; half += 64) {
      const numbers = half == 0 ? firstNumbers<T>(row) : lastNumbers<T>(row);
      v128.store(target + half, four(numbers, 0, v128.load(SELECT_BYTES)));
      v128.store(target + half, four(numbers, 1, v128.load(SELECT_BYTES, 16)), 16);
      v128.store(target + half, four(numbers, 2, v128.load(SELECT_BYTES, 32)), 32);
      v128.store(target + half, four(numbers, 3, v128.load(SELECT_BYTES, 48)), 48);
    }
    row += blockBytes<T>();
    scales += 16;
  }
}

/** As `axpyBlocks`, of a row that `storeBlocks` wrote. */
export function axpyNumbers(factor: f32, numbers: usize, scales: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor * TOP_BYTE);
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    const scaled = f32x4.mul(lanes, v128.load32_splat(scales));
    for (let at: usize = 0; at < 128; at += 16) {
      v128.store(target + at, multiplyAdd(v128.load(target + at), v128.load(numbers + at), scaled));
    }
    numbers += 128;
    scales += 16;
  }
}

/** As `axpyBlocks4`, of four such rows, `pitch` bytes apart; their scales are side by side. */
export function axpyNumbers4(factors: usize, numbers: usize, pitch: usize, scales: usize, target: usize, count: i32): void {
  const lanes = f32x4.mul(v128.load(factors), f32x4.splat(TOP_BYTE));
  for (const end = target + (<usize>count << 2); target < end; target += 128) {
    const scaled = f32x4.mul(v128.load(scales), lanes);
    const f0 = spread(scaled, 0);
    const f1 = spread(scaled, 1);
    const f2 = spread(scaled, 2);
    const f3 = spread(scaled, 3);
    for (let at: usize = 0; at < 128; at += 16) {
      let sum = multiplyAdd(v128.load(target + at), v128.load(numbers + at), f0);
      sum = multiplyAdd(sum, v128.load(numbers + pitch + at), f1);
      sum = multiplyAdd(sum, v128.load(numbers + 2 * pitch + at), f2);
      v128.store(target + at, multiplyAdd(sum, v128.load(numbers + 3 * pitch + at), f3));
    }
    numbers += 128;
    scales += 16;
  }
}

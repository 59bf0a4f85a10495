// Dots of f16 rows with one token, without the cost of widening every weight by a multiplication.
import { rowsOf } from "./rows";
import { laneSum } from "./dot";
import { SERIAL } from "./layout";

/** What this thread's copy holds: globals belong to an instance, and so to a thread. */
let heldSerial: i32 = 0;
let heldSource: usize = 0;
let heldFits: bool = false;

/** 2^56. A half whose bits are moved to those of a f32 is 2^112 too small: one factor is in the source, one in the sum. */
const HALFWAY: u32 = 0x5b800000;

/**
 * Copies a source times 2^56 into the thread's rows, once per op. True where every value is 0 or from 2^-40 to 2^60: then no product
 * of a half and a source value leaves the normal range with either factor, and all sums are those of plain f32, bit by bit.
 */
export function scaleSource(x: usize, count: i32, thread: i32): bool {
  const serial = atomic.load<i32>(SERIAL);
  if (serial == heldSerial && x == heldSource) return heldFits;
  heldSerial = serial;
  heldSource = x;
  const factor = f32x4.splat(reinterpret<f32>(HALFWAY));
  const target = rowsOf(thread);
  let fits = i32x4.splat(-1);
  for (let at: usize = 0; at < <usize>count << 2; at += 16) {
    const lanes = v128.load(x + at);
    const size = f32x4.abs(lanes);
    const inside = v128.and(
      f32x4.ge(size, f32x4.splat(reinterpret<f32>(0x2b800000))),
      f32x4.le(size, f32x4.splat(reinterpret<f32>(0x5d800000))),
    );
    fits = v128.and(fits, v128.or(inside, f32x4.eq(size, f32x4.splat(0))));
    v128.store(target + at, f32x4.mul(lanes, factor));
  }
  heldFits = i32x4.all_true(fits);
  return heldFits;
}

// @ts-ignore: decorator
@inline
function raw(bits: v128): v128 {
  return v128.and(i32x4.shl(bits, 13), i32x4.splat(0x8fffe000));
}

// @ts-ignore: decorator
@inline
function addEight(sum: v128, bits: v128, first: v128, second: v128): v128 {
  const half = f32x4.add(sum, f32x4.mul(raw(i32x4.extend_low_i16x8_s(bits)), first));
  return f32x4.add(half, f32x4.mul(raw(i32x4.extend_high_i16x8_s(bits)), second));
}

/** out[r] = dot(row r, source) of four f16 rows with the scaled source; false, and nothing of use in `out`, where a weight is infinite or NaN. */
export function dotHalves(row0: usize, row1: usize, row2: usize, row3: usize, count: i32, thread: i32, out: usize): bool {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  // The largest bits without their sign.
  let seen = i32x4.splat(0);
  let x = rowsOf(thread);
  const end = x + (<usize>count << 2);
  for (; x < end; x += 32) {
    const first = v128.load(x);
    const second = v128.load(x, 16);
    let bits = v128.load(row0);
    seen = i16x8.max_u(seen, i16x8.shl(bits, 1));
    sum0 = addEight(sum0, bits, first, second);
    bits = v128.load(row1);
    seen = i16x8.max_u(seen, i16x8.shl(bits, 1));
    sum1 = addEight(sum1, bits, first, second);
    bits = v128.load(row2);
    seen = i16x8.max_u(seen, i16x8.shl(bits, 1));
    sum2 = addEight(sum2, bits, first, second);
    bits = v128.load(row3);
    seen = i16x8.max_u(seen, i16x8.shl(bits, 1));
    sum3 = addEight(sum3, bits, first, second);
    row0 += 16;
    row1 += 16;
    row2 += 16;
    row3 += 16;
  }
  const factor = reinterpret<f32>(HALFWAY);
  store<f32>(out, laneSum(sum0) * factor);
  store<f32>(out, laneSum(sum1) * factor, 4);
  store<f32>(out, laneSum(sum2) * factor, 8);
  store<f32>(out, laneSum(sum3) * factor, 12);
  return !v128.any_true(i16x8.ge_u(seen, i16x8.splat(<i16>0xf800)));
}

/** True where no half of `count` is infinite or NaN. */
function allFinite(row: usize, count: i32): bool {
  let seen = i32x4.splat(0);
  for (const end = row + (<usize>count << 1); row < end; row += 16) {
    seen = i16x8.max_u(seen, i16x8.shl(v128.load(row), 1));
  }
  return !v128.any_true(i16x8.ge_u(seen, i16x8.splat(<i16>0xf800)));
}

// @ts-ignore: decorator
@inline
function addLow(sum: v128, row: usize, factor: v128): v128 {
  return f32x4.add(sum, f32x4.mul(factor, raw(v128.load16x4_s(row))));
}

// @ts-ignore: decorator
@inline
function addHigh(sum: v128, row: usize, factor: v128): v128 {
  return f32x4.add(sum, f32x4.mul(factor, raw(v128.load16x4_s(row, 8))));
}

/**
 * target += the sum of factor times row, in order, for four f16 rows whose length is a multiple of eight. False, and nothing done, where
 * a weight is not finite or a factor times 2^112 would not be exact: the sums are those of plain f32, bit by bit.
 */
export function axpyHalves4(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): bool {
  const lanes = v128.load(factors);
  const size = f32x4.abs(lanes);
  const fits = v128.and(
    f32x4.ge(size, f32x4.splat(reinterpret<f32>(0x2b800000))),
    f32x4.le(size, f32x4.splat(32768)),
  );
  if (!i32x4.all_true(fits) || (count & 7) != 0) return false;
  if (!allFinite(row0, count) || !allFinite(row1, count) || !allFinite(row2, count) || !allFinite(row3, count)) return false;
  const scaled = f32x4.mul(lanes, f32x4.splat(reinterpret<f32>(0x77800000)));
  const factor0 = v128.shuffle<i32>(scaled, scaled, 0, 0, 0, 0);
  const factor1 = v128.shuffle<i32>(scaled, scaled, 1, 1, 1, 1);
  const factor2 = v128.shuffle<i32>(scaled, scaled, 2, 2, 2, 2);
  const factor3 = v128.shuffle<i32>(scaled, scaled, 3, 3, 3, 3);
  for (const end = target + (<usize>count << 2); target < end; target += 32) {
    const low = addLow(addLow(v128.load(target), row0, factor0), row1, factor1);
    v128.store(target, addLow(addLow(low, row2, factor2), row3, factor3));
    const high = addHigh(addHigh(v128.load(target, 16), row0, factor0), row1, factor1);
    v128.store(target, addHigh(addHigh(high, row2, factor2), row3, factor3), 16);
    row0 += 16;
    row1 += 16;
    row2 += 16;
    row3 += 16;
  }
  return true;
}

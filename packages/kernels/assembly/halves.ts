// Dots of f16 rows with one token, without the cost of widening every weight by a multiplication.
import { UPPER_BITS } from "./constants";
import { laneSum } from "./dot";
import { SERIAL } from "./layout";
import { multiplyAdd } from "./relaxed";
import { rowsOf } from "./rows";

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

/** Bits of the first four of eight halves where a f32 has them: 2^112 too small. `upper` is `UPPER_BITS`. */
// @ts-ignore: decorator
@inline
function lowFour(bits: v128, upper: v128): v128 {
  return v128.shuffle<i16>(i16x8.shl(bits, 13), v128.and(i16x8.shr_s(bits, 3), upper), 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function highFour(bits: v128, upper: v128): v128 {
  return v128.shuffle<i16>(i16x8.shl(bits, 13), v128.and(i16x8.shr_s(bits, 3), upper), 4, 12, 5, 13, 6, 14, 7, 15);
}

/** False where none of the halves whose bits were or-ed together can be infinite or NaN: no exponent has all bits. */
// @ts-ignore: decorator
@inline
function mayBeSpecial(seen: v128): bool {
  const exponent = i16x8.splat(0x7c00);
  return v128.any_true(i16x8.eq(v128.and(seen, exponent), exponent));
}

// @ts-ignore: decorator
@inline
function addEight(sum: v128, bits: v128, first: v128, second: v128, upper: v128): v128 {
  return multiplyAdd(multiplyAdd(sum, lowFour(bits, upper), first), highFour(bits, upper), second);
}

/** out[r] = dot(row r, source) of four f16 rows with the scaled source; false, and nothing of use in `out`, where a weight is infinite or NaN. */
export function dotHalves(row0: usize, row1: usize, row2: usize, row3: usize, count: i32, thread: i32, out: usize): bool {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let seen = i32x4.splat(0);
  const upper = v128.load(UPPER_BITS);
  const scaled = rowsOf(thread);
  const lengthBytes = <usize>count << 1;
  for (let at: usize = 0; at < lengthBytes; at += 16) {
    const first = v128.load(scaled + 2 * at);
    const second = v128.load(scaled + 2 * at, 16);
    const bits0 = v128.load(row0 + at);
    const bits1 = v128.load(row1 + at);
    const bits2 = v128.load(row2 + at);
    const bits3 = v128.load(row3 + at);
    seen = v128.or(v128.or(seen, v128.or(bits0, bits1)), v128.or(bits2, bits3));
    sum0 = addEight(sum0, bits0, first, second, upper);
    sum1 = addEight(sum1, bits1, first, second, upper);
    sum2 = addEight(sum2, bits2, first, second, upper);
    sum3 = addEight(sum3, bits3, first, second, upper);
  }
  const factor = reinterpret<f32>(HALFWAY);
  store<f32>(out, laneSum(sum0) * factor);
  store<f32>(out, laneSum(sum1) * factor, 4);
  store<f32>(out, laneSum(sum2) * factor, 8);
  store<f32>(out, laneSum(sum3) * factor, 12);
  return !mayBeSpecial(seen) || allFinite4(row0, row1, row2, row3, count);
}

/** True where no half of `count` is infinite or NaN. */
function allFinite(row: usize, count: i32): bool {
  let seen = i32x4.splat(0);
  for (const end = row + (<usize>count << 1); row < end; row += 16) {
    seen = i16x8.max_u(seen, i16x8.shl(v128.load(row), 1));
  }
  return !v128.any_true(i16x8.ge_u(seen, i16x8.splat(<i16>0xf800)));
}

/** As `allFinite`, of four rows. */
export function allFinite4(row0: usize, row1: usize, row2: usize, row3: usize, count: i32): bool {
  return allFinite(row0, count) && allFinite(row1, count) && allFinite(row2, count) && allFinite(row3, count);
}

/** True where factors times 2^112 are exact and all sums those of plain f32, bit by bit; `factors` are four. */
export function factorsFit(factors: usize): bool {
  const size = f32x4.abs(v128.load(factors));
  const fits = v128.and(
    f32x4.ge(size, f32x4.splat(reinterpret<f32>(0x2b800000))),
    f32x4.le(size, f32x4.splat(32768)),
  );
  return i32x4.all_true(fits);
}

// @ts-ignore: decorator
@inline
function addHalves(
  factors: usize, row0: usize, row1: usize, row2: usize, row3: usize,
  next0: usize, next1: usize, next2: usize, next3: usize, target: usize, count: i32,
): bool {
  const scaled = f32x4.mul(v128.load(factors), f32x4.splat(reinterpret<f32>(0x77800000)));
  const factor0 = v128.shuffle<i32>(scaled, scaled, 0, 0, 0, 0);
  const factor1 = v128.shuffle<i32>(scaled, scaled, 1, 1, 1, 1);
  const factor2 = v128.shuffle<i32>(scaled, scaled, 2, 2, 2, 2);
  const factor3 = v128.shuffle<i32>(scaled, scaled, 3, 3, 3, 3);
  const upper = v128.load(UPPER_BITS);
  const lengthBytes = <usize>count << 1;
  let seen = i32x4.splat(0);
  for (let at: usize = 0; at < lengthBytes; at += 16) {
    seen = v128.or(seen, v128.or(v128.or(v128.load(next0 + at), v128.load(next1 + at)), v128.or(v128.load(next2 + at), v128.load(next3 + at))));
    const place = target + 2 * at;
    const bits0 = v128.load(row0 + at);
    const bits1 = v128.load(row1 + at);
    const bits2 = v128.load(row2 + at);
    const bits3 = v128.load(row3 + at);
    let low = multiplyAdd(v128.load(place), factor0, lowFour(bits0, upper));
    let high = multiplyAdd(v128.load(place, 16), factor0, highFour(bits0, upper));
    low = multiplyAdd(low, factor1, lowFour(bits1, upper));
    high = multiplyAdd(high, factor1, highFour(bits1, upper));
    low = multiplyAdd(low, factor2, lowFour(bits2, upper));
    high = multiplyAdd(high, factor2, highFour(bits2, upper));
    low = multiplyAdd(low, factor3, lowFour(bits3, upper));
    high = multiplyAdd(high, factor3, highFour(bits3, upper));
    v128.store(place, low);
    v128.store(place, high, 16);
  }
  return !mayBeSpecial(seen);
}

/**
 * target += the sum of factor times row, in order, for four f16 rows. False, and nothing done, where their length is no multiple of
 * eight, a factor does not fit or a weight is not finite.
 */
export function axpyHalves4(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): bool {
  if ((count & 7) != 0 || !factorsFit(factors) || !allFinite4(row0, row1, row2, row3, count)) return false;
  addHalves(factors, row0, row1, row2, row3, row0, row1, row2, row3, target, count);
  return true;
}

/**
 * As `axpyHalves4`, of rows that are known to fit. `group` holds the factors and, 32 bytes on, the rows. Meanwhile the rows of `next` are
 * loaded, so that their lines arrive; true where none of their weights can be special.
 */
export function axpyGroup(group: usize, next: usize, target: usize, count: i32): bool {
  return addHalves(
    group, load<u32>(group, 32), load<u32>(group, 36), load<u32>(group, 40), load<u32>(group, 44),
    load<u32>(next, 32), load<u32>(next, 36), load<u32>(next, 40), load<u32>(next, 44), target, count,
  );
}

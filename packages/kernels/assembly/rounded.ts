// Dots of precision "q8". A token's source is rounded once to int16 numbers of int8 size, with a scale and a sum per block of 32.
import { blockBytes, eight0, eight1, eight2, eight3, fourMinimums, fourScales, oneMinimum, oneScale, spread } from "./convert";
import { laneSum } from "./dot";
import { DTYPE_Q4_0, DTYPE_Q8_0, SCRATCH_TOKENS, TOKEN_TILE } from "./layout";
import { largestOf32 } from "./quantise";
import { scratchOf } from "./rows";

/** Bytes of one token's numbers; one line more than a multiple of 64, so that tokens do not compete for cache sets. */
// @ts-ignore: decorator
@inline
function numberBytes(count: i32): usize {
  return <usize>count * 2 + 64;
}

/** The thread's tile: numbers of TOKEN_TILE tokens, then per block their scales and their sums times the scale. */
// @ts-ignore: decorator
@inline
function tileOf(thread: i32): usize {
  return scratchOf(thread) + SCRATCH_TOKENS;
}

/** Where the scales of a tile begin: 32 bytes per block, the second half for sums. */
// @ts-ignore: decorator
@inline
function scalesOf(tile: usize, count: i32): usize {
  return tile + <usize>TOKEN_TILE * numberBytes(count);
}

// @ts-ignore: decorator
@inline
function numbers(source: usize, inverse: v128): v128 {
  const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source), inverse)));
  const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source, 16), inverse)));
  const words = i16x8.narrow_i32x4_s(low, high);
  return i16x8.max_s(i16x8.min_s(words, i16x8.splat(127)), i16x8.splat(-127));
}

function roundToken(source: usize, target: usize, scales: usize, count: i32): void {
  const end = source + (<usize>count << 2);
  for (; source < end; source += 128) {
    const scale = largestOf32(source) / 127;
    const inverse = f32x4.splat(scale == 0 ? 0 : 1 / scale);
    const a = numbers(source, inverse);
    const b = numbers(source + 32, inverse);
    const c = numbers(source + 64, inverse);
    const d = numbers(source + 96, inverse);
    v128.store(target, a);
    v128.store(target, b, 16);
    v128.store(target, c, 32);
    v128.store(target, d, 48);
    const sums = i32x4.extadd_pairwise_i16x8_s(i16x8.add(i16x8.add(a, b), i16x8.add(c, d)));
    const sum =
      i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3);
    store<f32>(scales, scale);
    store<f32>(scales, scale * <f32>sum, 16);
    target += 64;
    scales += 32;
  }
}

/** Rounds tokens `first .. first + group - 1` of `x` `[tokens, count]` into the thread's tile. */
export function roundTokens(x: usize, first: i32, group: i32, count: i32, thread: i32): void {
  const tile = tileOf(thread);
  const scales = scalesOf(tile, count);
  for (let t: usize = 0; t < <usize>group; t++) {
    roundToken(x + ((<usize>first + t) * <usize>count << 2), tile + t * numberBytes(count), scales + (t << 2), count);
  }
}

/** Integer dot of a block, in four parts. */
// @ts-ignore: decorator
@inline
function blockDot(w0: v128, w1: v128, w2: v128, w3: v128, x: usize): v128 {
  const first = i32x4.add(i32x4.dot_i16x8_s(w0, v128.load(x)), i32x4.dot_i16x8_s(w1, v128.load(x, 16)));
  const second = i32x4.add(i32x4.dot_i16x8_s(w2, v128.load(x, 32)), i32x4.dot_i16x8_s(w3, v128.load(x, 48)));
  return f32x4.convert_i32x4_s(i32x4.add(first, second));
}

// @ts-ignore: decorator
@inline
function rowDot<T>(row: usize, x: usize): v128 {
  return blockDot(eight0<T>(row), eight1<T>(row), eight2<T>(row), eight3<T>(row), x);
}

/** Four rows and the first token of the tile. */
function dotsOfOne<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let offsets = f32x4.splat(0);
  let place = scalesOf(x, count);
  const end = x + <usize>count * 2;
  while (x < end) {
    const scales = f32x4.mul(fourScales(row0, row1, row2, row3), v128.load32_splat(place));
    if (sizeof<T>() == 8) {
      offsets = f32x4.add(offsets, f32x4.mul(fourMinimums<T>(row0, row1, row2, row3), v128.load32_splat(place, 16)));
    }
    sum0 = f32x4.add(sum0, f32x4.mul(rowDot<T>(row0, x), spread(scales, 0)));
    sum1 = f32x4.add(sum1, f32x4.mul(rowDot<T>(row1, x), spread(scales, 1)));
    sum2 = f32x4.add(sum2, f32x4.mul(rowDot<T>(row2, x), spread(scales, 2)));
    sum3 = f32x4.add(sum3, f32x4.mul(rowDot<T>(row3, x), spread(scales, 3)));
    x += 64;
    place += 32;
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
  }
  store<f32>(out, laneSum(sum0) + f32x4.extract_lane(offsets, 0));
  store<f32>(out, laneSum(sum1) + f32x4.extract_lane(offsets, 1), 4);
  store<f32>(out, laneSum(sum2) + f32x4.extract_lane(offsets, 2), 8);
  store<f32>(out, laneSum(sum3) + f32x4.extract_lane(offsets, 3), 12);
}

/** One row and the four tokens of the tile: its numbers are widened once. The same sums as of one token. */
function dotsOfFour<T>(row: usize, x: usize, count: i32, out: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let offsets = f32x4.splat(0);
  let place = scalesOf(x, count);
  const end = x + <usize>count * 2;
  const pitch = numberBytes(count);
  while (x < end) {
    const scales = f32x4.mul(oneScale(row), v128.load(place));
    if (sizeof<T>() == 8) offsets = f32x4.add(offsets, f32x4.mul(oneMinimum<T>(row), v128.load(place, 16)));
    const w0 = eight0<T>(row);
    const w1 = eight1<T>(row);
    const w2 = eight2<T>(row);
    const w3 = eight3<T>(row);
    sum0 = f32x4.add(sum0, f32x4.mul(blockDot(w0, w1, w2, w3, x), spread(scales, 0)));
    sum1 = f32x4.add(sum1, f32x4.mul(blockDot(w0, w1, w2, w3, x + pitch), spread(scales, 1)));
    sum2 = f32x4.add(sum2, f32x4.mul(blockDot(w0, w1, w2, w3, x + 2 * pitch), spread(scales, 2)));
    sum3 = f32x4.add(sum3, f32x4.mul(blockDot(w0, w1, w2, w3, x + 3 * pitch), spread(scales, 3)));
    x += 64;
    place += 32;
    row += blockBytes<T>();
  }
  store<f32>(out, laneSum(sum0) + f32x4.extract_lane(offsets, 0));
  store<f32>(out, laneSum(sum1) + f32x4.extract_lane(offsets, 1), 16);
  store<f32>(out, laneSum(sum2) + f32x4.extract_lane(offsets, 2), 32);
  store<f32>(out, laneSum(sum3) + f32x4.extract_lane(offsets, 3), 48);
}

function dots<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, group: i32, out: usize): void {
  if (group == 1) {
    dotsOfOne<T>(row0, row1, row2, row3, x, count, out);
    return;
  }
  dotsOfFour<T>(row0, x, count, out);
  // Rows that are missing are the first one again.
  if (row1 != row0) dotsOfFour<T>(row1, x, count, out + 4);
  if (row2 != row0) dotsOfFour<T>(row2, x, count, out + 8);
  if (row3 != row0) dotsOfFour<T>(row3, x, count, out + 12);
}

/** out[t * 4 + r] = dot(row r, rounded token t) for the first `group` tokens of the thread's tile. */
export function roundedDots(
  dtype: i32, row0: usize, row1: usize, row2: usize, row3: usize, count: i32, group: i32, thread: i32, out: usize,
): void {
  const x = tileOf(thread);
  if (dtype == DTYPE_Q8_0) dots<i8>(row0, row1, row2, row3, x, count, group, out);
  else if (dtype == DTYPE_Q4_0) dots<u8>(row0, row1, row2, row3, x, count, group, out);
  else dots<u64>(row0, row1, row2, row3, x, count, group, out);
}

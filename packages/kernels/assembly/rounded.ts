// Dots of precision "q8". A token's source is rounded once to numbers of int8 size, with a scale and a word about their sum per block of 32.
import { blockDot, storeNumbers, sumsIn, withOffsets } from "./blocks";
import { ONES } from "./constants";
import { blockBytes, fourMinimums, fourScales, oneMinimum, oneScale } from "./convert";
import { DTYPE_Q4_0, DTYPE_Q8_0, SCRATCH_TOKENS, SERIAL, TOKEN_TILE } from "./layout";
import { largestOf32 } from "./quantise";
import { multiplyAdd } from "./relaxed";
import { dotsOf } from "./rows";

/** Bytes of one token's numbers; one line more than a multiple of 64, so that tokens do not compete for cache sets. */
// @ts-ignore: decorator
@inline
function numberBytes(count: i32): usize {
  return <usize>count * 2 + 64;
}

/** The thread's tile: numbers of TOKEN_TILE tokens, then per block their scales and words. */
// @ts-ignore: decorator
@inline
function tileOf(thread: i32): usize {
  return dotsOf(thread) + load<u32>(SCRATCH_TOKENS);
}

/** Where the scales of a tile begin: 32 bytes per block, the second half for words. */
// @ts-ignore: decorator
@inline
function scalesOf(tile: usize, count: i32): usize {
  return tile + <usize>TOKEN_TILE * numberBytes(count);
}

function roundToken(source: usize, target: usize, scales: usize, count: i32): void {
  const end = source + (<usize>count << 2);
  for (; source < end; source += 128) {
    const scale = largestOf32(source) / 127;
    const inverse = f32x4.splat(scale == 0 ? 0 : 1 / scale);
    store<f32>(scales, scale);
    store<u32>(scales, storeNumbers(source, inverse, target), 16);
    target += 64;
    scales += 32;
  }
}

/** What this thread's tile holds: globals belong to an instance, and so to a thread. */
let heldSerial: i32 = 0;
let heldFirst: i32 = -1;

/** Rounds tokens `first .. first + group - 1` of `x` `[tokens, count]` into the thread's tile, unless they are there since its last claim of the op. */
export function roundTokens(x: usize, first: i32, group: i32, count: i32, thread: i32): void {
  const serial = atomic.load<i32>(SERIAL);
  if (serial == heldSerial && first == heldFirst) return;
  heldSerial = serial;
  heldFirst = first;
  const tile = tileOf(thread);
  const scales = scalesOf(tile, count);
  for (let t: usize = 0; t < <usize>group; t++) {
    roundToken(x + ((<usize>first + t) * <usize>count << 2), tile + t * numberBytes(count), scales + (t << 2), count);
  }
}

/** Sums of the lanes of four vectors, in order. */
// @ts-ignore: decorator
@inline
function sumsOfFour(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** Integer dots of four blocks with one token's, or of one block with four tokens', less what `blockDot` leaves out. */
// @ts-ignore: decorator
@inline
function total(a: v128, b: v128, c: v128, d: v128, words: v128): v128 {
  return f32x4.convert_i32x4_s(withOffsets(sumsOfFour(a, b, c, d), words));
}

// @ts-ignore: decorator
@inline
function storeSums(sum: v128, offsets: v128, isMinimum: bool): v128 {
  return isMinimum ? f32x4.add(sum, offsets) : sum;
}

/** Four rows and the first token of the tile. */
function dotsOfOne<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize): void {
  let sum = f32x4.splat(0);
  let offsets = f32x4.splat(0);
  let place = scalesOf(x, count);
  const ones = v128.load(ONES);
  const end = x + <usize>count * 2;
  while (x < end) {
    const scale = v128.load32_splat(place);
    const words = v128.load32_splat(place, 16);
    const scales = f32x4.mul(fourScales(row0, row1, row2, row3), scale);
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const x2 = v128.load(x, 32);
    const x3 = v128.load(x, 48);
    if (sizeof<T>() == 8) {
      offsets = f32x4.add(offsets, f32x4.mul(fourMinimums<T>(row0, row1, row2, row3), f32x4.mul(scale, sumsIn(words))));
    }
    const dot0 = blockDot<T>(row0, x0, x1, x2, x3, ones);
    const dot1 = blockDot<T>(row1, x0, x1, x2, x3, ones);
    const dot2 = blockDot<T>(row2, x0, x1, x2, x3, ones);
    const dot3 = blockDot<T>(row3, x0, x1, x2, x3, ones);
    sum = multiplyAdd(sum, total(dot0, dot1, dot2, dot3, words), scales);
    x += 64;
    place += 32;
    row0 += blockBytes<T>();
    row1 += blockBytes<T>();
    row2 += blockBytes<T>();
    row3 += blockBytes<T>();
  }
  v128.store(out, storeSums(sum, offsets, sizeof<T>() == 8));
}

// @ts-ignore: decorator
@inline
function tokenDot<T>(row: usize, x: usize, ones: v128): v128 {
  return blockDot<T>(row, v128.load(x), v128.load(x, 16), v128.load(x, 32), v128.load(x, 48), ones);
}

/** One row and the four tokens of the tile. The same sums as of one token. */
function dotsOfFour<T>(row: usize, x: usize, count: i32, out: usize): void {
  let sum = f32x4.splat(0);
  let offsets = f32x4.splat(0);
  let place = scalesOf(x, count);
  const ones = v128.load(ONES);
  const end = x + <usize>count * 2;
  const pitch = numberBytes(count);
  while (x < end) {
    const scale = v128.load(place);
    const words = v128.load(place, 16);
    const scales = f32x4.mul(oneScale(row), scale);
    if (sizeof<T>() == 8) offsets = f32x4.add(offsets, f32x4.mul(oneMinimum<T>(row), f32x4.mul(scale, sumsIn(words))));
    const dot0 = tokenDot<T>(row, x, ones);
    const dot1 = tokenDot<T>(row, x + pitch, ones);
    const dot2 = tokenDot<T>(row, x + 2 * pitch, ones);
    const dot3 = tokenDot<T>(row, x + 3 * pitch, ones);
    sum = multiplyAdd(sum, total(dot0, dot1, dot2, dot3, words), scales);
    x += 64;
    place += 32;
    row += blockBytes<T>();
  }
  sum = storeSums(sum, offsets, sizeof<T>() == 8);
  v128.store32_lane(out, sum, 0);
  v128.store32_lane(out, sum, 1, 16);
  v128.store32_lane(out, sum, 2, 32);
  v128.store32_lane(out, sum, 3, 48);
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

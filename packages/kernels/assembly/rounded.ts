// Dots of precision "q8". A token's source is rounded once to int16 numbers of int8 size, with a scale and a sum per block of 32.
import { blockBytes, eight, fourMinimums, fourScales, spread } from "./convert";
import { laneSum } from "./dot";
import { DTYPE_Q4_0, DTYPE_Q8_0, SCRATCH_TOKENS } from "./layout";
import { largestOf32 } from "./quantise";
import { scratchOf } from "./rows";

/** Bytes of a rounded token: its numbers, then scales, then sums. */
// @ts-ignore: decorator
@inline
function tokenBytes(count: i32): usize {
  return <usize>count * 2 + <usize>(count >> 5) * 8;
}

/** Rounded token `index` of a thread's tile. */
// @ts-ignore: decorator
@inline
export function roundedAt(index: i32, count: i32, thread: i32): usize {
  return scratchOf(thread) + SCRATCH_TOKENS + <usize>index * tokenBytes(count);
}

// @ts-ignore: decorator
@inline
function numbers(source: usize, inverse: v128): v128 {
  const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source), inverse)));
  const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source, 16), inverse)));
  const words = i16x8.narrow_i32x4_s(low, high);
  return i16x8.max_s(i16x8.min_s(words, i16x8.splat(127)), i16x8.splat(-127));
}

function roundToken(source: usize, target: usize, count: i32): void {
  let scales = target + <usize>count * 2;
  const sumsOffset = <usize>(count >> 5) << 2;
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
    store<f32>(scales, scale);
    store<i32>(
      scales + sumsOffset,
      i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1) + i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3),
    );
    target += 64;
    scales += 4;
  }
}

/** Rounds tokens `first .. first + group - 1` of `x` `[tokens, count]` into the thread's tile. */
export function roundTokens(x: usize, first: i32, group: i32, count: i32, thread: i32): void {
  for (let t = 0; t < group; t++) {
    roundToken(x + (<usize>(first + t) * <usize>count << 2), roundedAt(t, count, thread), count);
  }
}

/** Integer dot of a block, in four parts. */
// @ts-ignore: decorator
@inline
function blockDot<T>(block: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const first = i32x4.add(i32x4.dot_i16x8_s(eight<T>(block, 0), x0), i32x4.dot_i16x8_s(eight<T>(block, 1), x1));
  const second = i32x4.add(i32x4.dot_i16x8_s(eight<T>(block, 2), x2), i32x4.dot_i16x8_s(eight<T>(block, 3), x3));
  return f32x4.convert_i32x4_s(i32x4.add(first, second));
}

function dotRounded<T>(row0: usize, row1: usize, row2: usize, row3: usize, x: usize, count: i32, out: usize): void {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  let offsets = f32x4.splat(0);
  const end = x + <usize>count * 2;
  const sumsOffset = <usize>(count >> 5) << 2;
  let scalePlace = end;
  while (x < end) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const x2 = v128.load(x, 32);
    const x3 = v128.load(x, 48);
    const sourceScale = v128.load32_splat(scalePlace);
    const scales = f32x4.mul(fourScales(row0, row1, row2, row3), sourceScale);
    if (sizeof<T>() == 8) {
      const sums = f32x4.mul(sourceScale, f32x4.convert_i32x4_s(v128.load32_splat(scalePlace + sumsOffset)));
      offsets = f32x4.add(offsets, f32x4.mul(fourMinimums<T>(row0, row1, row2, row3), sums));
    }
    sum0 = f32x4.add(sum0, f32x4.mul(blockDot<T>(row0, x0, x1, x2, x3), spread(scales, 0)));
    sum1 = f32x4.add(sum1, f32x4.mul(blockDot<T>(row1, x0, x1, x2, x3), spread(scales, 1)));
    sum2 = f32x4.add(sum2, f32x4.mul(blockDot<T>(row2, x0, x1, x2, x3), spread(scales, 2)));
    sum3 = f32x4.add(sum3, f32x4.mul(blockDot<T>(row3, x0, x1, x2, x3), spread(scales, 3)));
    x += 64;
    scalePlace += 4;
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

/** out[t * 4 + r] = dot(row r, rounded token t) for the first `group` tokens of the thread's tile. */
export function roundedDots(
  dtype: i32, row0: usize, row1: usize, row2: usize, row3: usize, count: i32, group: i32, thread: i32, out: usize,
): void {
  for (let t = 0; t < group; t++) {
    const x = roundedAt(t, count, thread);
    if (dtype == DTYPE_Q8_0) dotRounded<i8>(row0, row1, row2, row3, x, count, out);
    else if (dtype == DTYPE_Q4_0) dotRounded<u8>(row0, row1, row2, row3, x, count, out);
    else dotRounded<u64>(row0, row1, row2, row3, x, count, out);
    out += 16;
  }
}

// Integer dots of blocks of 32 int8 weights with 32 rounded numbers of a token, which take 64 bytes.
// Relaxed: the numbers' sizes, then for each a byte of ones where it is negative, so that sizes are the 7-bit side of the dot,
// whose result is the same everywhere. Weights are inverted where the number is negative: -w is ~w + 1, exact for -128 too.
// What is missing then, the sum of the negative numbers' sizes, is kept beside them. Plain: the numbers as int16.
import { eight0, eight1, eight2, eight3, firstNumbers, lastNumbers } from "./convert";

// @ts-ignore: decorator
@inline
function eightNumbers(source: usize, inverse: v128): v128 {
  const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source), inverse)));
  const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(source, 16), inverse)));
  const words = i16x8.narrow_i32x4_s(low, high);
  return i16x8.max_s(i16x8.min_s(words, i16x8.splat(127)), i16x8.splat(-127));
}

// @ts-ignore: decorator
@inline
function laneSum(lanes: v128): i32 {
  return (
    i32x4.extract_lane(lanes, 0) + i32x4.extract_lane(lanes, 1) + i32x4.extract_lane(lanes, 2) + i32x4.extract_lane(lanes, 3)
  );
}

/** Rounds 32 values. The word that is returned holds the sum of the numbers and, above it, that of the negative ones' sizes. */
export function storeNumbers(source: usize, inverse: v128, target: usize): u32 {
  const a = eightNumbers(source, inverse);
  const b = eightNumbers(source + 32, inverse);
  const c = eightNumbers(source + 64, inverse);
  const d = eightNumbers(source + 96, inverse);
  if (ASC_FEATURE_RELAXED_SIMD) {
    const first = i8x16.narrow_i16x8_s(a, b);
    const second = i8x16.narrow_i16x8_s(c, d);
    v128.store(target, i8x16.abs(first));
    v128.store(target, i8x16.abs(second), 16);
    v128.store(target, i8x16.shr_s(first, 7), 32);
    v128.store(target, i8x16.shr_s(second, 7), 48);
  } else {
    v128.store(target, a);
    v128.store(target, b, 16);
    v128.store(target, c, 32);
    v128.store(target, d, 48);
  }
  const sums = i16x8.add(i16x8.add(a, b), i16x8.add(c, d));
  const sizes = i16x8.add(i16x8.add(i16x8.abs(a), i16x8.abs(b)), i16x8.add(i16x8.abs(c), i16x8.abs(d)));
  const sum = laneSum(i32x4.extadd_pairwise_i16x8_s(sums));
  const size = laneSum(i32x4.extadd_pairwise_i16x8_s(sizes));
  return <u32>((((size - sum) >> 1) << 16) | (sum & 0xffff));
}

/** The sums in words. */
// @ts-ignore: decorator
@inline
export function sumsIn(words: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(words, 16), 16));
}

/** Whole dots, from those of `blockDot`. */
// @ts-ignore: decorator
@inline
export function withOffsets(dots: v128, words: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i32x4.add(dots, i32x4.shr_u(words, 16)) : dots;
}

// @ts-ignore: decorator
@inline
function sixteen(weights: v128, sizes: v128, negative: v128, ones: v128): v128 {
  return i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(v128.xor(weights, negative), sizes), ones);
}

/** Integer dot of a block, in four parts; `ones` holds 1 in every int16. */
// @ts-ignore: decorator
@inline
export function blockDot<T>(row: usize, x0: v128, x1: v128, x2: v128, x3: v128, ones: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    return i32x4.add(sixteen(firstNumbers<T>(row), x0, x2, ones), sixteen(lastNumbers<T>(row), x1, x3, ones));
  }
  const first = i32x4.add(i32x4.dot_i16x8_s(eight0<T>(row), x0), i32x4.dot_i16x8_s(eight1<T>(row), x1));
  return i32x4.add(first, i32x4.add(i32x4.dot_i16x8_s(eight2<T>(row), x2), i32x4.dot_i16x8_s(eight3<T>(row), x3)));
}

// What the two builds of the kernels differ in: one uses relaxed SIMD, the other is for engines without it.

/**
 * sum + a * b. Relaxed: rounded once where the processor fuses, twice elsewhere, but always alike on one machine, so that results
 * do not depend on how the work is cut. The vector sums of dots and of rows all go through here.
 */
// @ts-ignore: decorator
@inline
export function multiplyAdd(sum: v128, a: v128, b: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, sum);
  return f32x4.add(sum, f32x4.mul(a, b));
}

/** Bytes 4 * quarter .. 4 * quarter + 3 as the top bytes of four words; `selector` is that of `SELECT_BYTES` for the quarter, which the plain build does without. */
// @ts-ignore: decorator
@inline
export function topBytes(bytes: v128, quarter: i32, selector: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(bytes, selector);
  const zero = i32x4.splat(0);
  const words =
    quarter < 2
      ? v128.shuffle<i8>(zero, bytes, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
      : v128.shuffle<i8>(zero, bytes, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return (quarter & 1) == 0
    ? v128.shuffle<i16>(zero, words, 0, 8, 1, 9, 2, 10, 3, 11)
    : v128.shuffle<i16>(zero, words, 4, 12, 5, 13, 6, 14, 7, 15);
}

// Weights to f32. Storage types stand for dtypes: f32 = f32, u16 = f16, i16 = bf16, i8 = q8_0, u8 = q4_0, u64 = q4_1.
import { FINITE, REBASE, SIZE_BITS, SMALLEST } from "./constants";
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";

/** f16 to f32 of one value; exact, subnormals and infinities included. */
// @ts-ignore: decorator
@inline
export function f16Value(bits: u32): f32 {
  const scaled = reinterpret<f32>(((bits & 0x8000) << 16) | ((bits & 0x7fff) << 13)) * reinterpret<f32>(0x77800000);
  return (bits & 0x7c00) == 0x7c00 ? reinterpret<f32>(reinterpret<u32>(scaled) | 0x7f800000) : scaled;
}

/** Four sign-extended f16 to f32: the exponent is rebased by a multiplication with 2^112. */
// @ts-ignore: decorator
@inline
function f16Lanes(bits: v128): v128 {
  const scaled = f32x4.mul(
    v128.and(i32x4.shl(bits, 13), i32x4.splat(0x8fffe000)),
    f32x4.splat(reinterpret<f32>(0x77800000)),
  );
  const special = f32x4.ge(f32x4.abs(scaled), f32x4.splat(65536));
  return v128.or(scaled, v128.and(special, i32x4.splat(0x7f800000)));
}

/**
 * Four f16 in the upper halves of words to f32, without an arithmetic operation on a subnormal f32: those cost many cycles, and scales of
 * blocks of small weights are often subnormal f16. With its exponent rebased such a number m * 2^-24 reads 2^-15 + m * 2^-25.
 */
// @ts-ignore: decorator
@inline
function scaleLanes(bits: v128): v128 {
  const mask = v128.load(SIZE_BITS);
  const size = i32x4.shr_u(v128.and(bits, mask), 3);
  const rebase = v128.load(REBASE);
  const lanes = i32x4.add(size, rebase);
  const missing = i32x4.max_s(f32x4.sub(v128.load(SMALLEST), lanes), i32x4.splat(0));
  const special = v128.and(i32x4.gt_s(size, v128.load(FINITE)), rebase);
  return v128.or(i32x4.add(f32x4.sub(lanes, missing), special), v128.andnot(bits, mask));
}

/** Scale of a block in all lanes. */
// @ts-ignore: decorator
@inline
export function oneScale(block: usize): v128 {
  return scaleLanes(i32x4.splat(<i32>load<u16>(block) << 16));
}

/** Four plain weights at `pointer`. */
// @ts-ignore: decorator
@inline
export function load4<T>(pointer: usize): v128 {
  if (isFloat<T>()) return v128.load(pointer);
  if (isSigned<T>()) return i32x4.shl(v128.load16x4_u(pointer), 16);
  return f16Lanes(v128.load16x4_s(pointer));
}

/** One plain weight. */
// @ts-ignore: decorator
@inline
export function load1<T>(pointer: usize): f32 {
  if (isFloat<T>()) return load<f32>(pointer);
  if (isSigned<T>()) return reinterpret<f32>(<u32>load<u16>(pointer) << 16);
  return f16Value(load<u16>(pointer));
}

/** The last one to three weights of a row, padded with zeros; never reads beyond them. */
export function loadTail<T>(pointer: usize, count: i32): v128 {
  let lanes = f32x4.splat(0);
  lanes = f32x4.replace_lane(lanes, 0, load1<T>(pointer));
  if (count > 1) lanes = f32x4.replace_lane(lanes, 1, load1<T>(pointer + sizeof<T>()));
  if (count > 2) lanes = f32x4.replace_lane(lanes, 2, load1<T>(pointer + 2 * sizeof<T>()));
  return lanes;
}

/** Bytes of a block of 32 quantised weights. */
// @ts-ignore: decorator
@inline
export function blockBytes<T>(): usize {
  if (isSigned<T>()) return 34;
  return sizeof<T>() == 8 ? 20 : 18;
}

/** The first 16 numbers of a block as int8. */
// @ts-ignore: decorator
@inline
export function firstNumbers<T>(block: usize): v128 {
  if (isSigned<T>()) return v128.load(block, 2);
  if (sizeof<T>() == 8) return v128.and(v128.load(block, 4), i8x16.splat(15));
  return i8x16.sub(v128.and(v128.load(block, 2), i8x16.splat(15)), i8x16.splat(8));
}

/** The last 16 numbers of a block as int8. */
// @ts-ignore: decorator
@inline
export function lastNumbers<T>(block: usize): v128 {
  if (isSigned<T>()) return v128.load(block, 18);
  if (sizeof<T>() == 8) return i8x16.shr_u(v128.load(block, 4), 4);
  return i8x16.sub(i8x16.shr_u(v128.load(block, 2), 4), i8x16.splat(8));
}

/** Numbers 0..7 of a block as int16. Addresses are constants beside `block`, which saves an addition each. */
// @ts-ignore: decorator
@inline
export function eight0<T>(block: usize): v128 {
  return isSigned<T>() ? v128.load8x8_s(block, 2) : i16x8.extend_low_i8x16_s(firstNumbers<T>(block));
}

/** Numbers 8..15. */
// @ts-ignore: decorator
@inline
export function eight1<T>(block: usize): v128 {
  return isSigned<T>() ? v128.load8x8_s(block, 10) : i16x8.extend_high_i8x16_s(firstNumbers<T>(block));
}

/** Numbers 16..23. */
// @ts-ignore: decorator
@inline
export function eight2<T>(block: usize): v128 {
  return isSigned<T>() ? v128.load8x8_s(block, 18) : i16x8.extend_low_i8x16_s(lastNumbers<T>(block));
}

/** Numbers 24..31. */
// @ts-ignore: decorator
@inline
export function eight3<T>(block: usize): v128 {
  return isSigned<T>() ? v128.load8x8_s(block, 26) : i16x8.extend_high_i8x16_s(lastNumbers<T>(block));
}

// @ts-ignore: decorator
@inline
function scaled<T>(numbers: v128, scale: v128, minimum: v128): v128 {
  const products = f32x4.mul(f32x4.convert_i32x4_s(numbers), scale);
  return sizeof<T>() == 8 ? f32x4.add(products, minimum) : products;
}

/** The first four of eight int16 as weights; only q4_1 has a minimum. */
// @ts-ignore: decorator
@inline
export function lowFour<T>(words: v128, scale: v128, minimum: v128): v128 {
  return scaled<T>(i32x4.extend_low_i16x8_s(words), scale, minimum);
}

/** The last four of eight int16 as weights. */
// @ts-ignore: decorator
@inline
export function highFour<T>(words: v128, scale: v128, minimum: v128): v128 {
  return scaled<T>(i32x4.extend_high_i16x8_s(words), scale, minimum);
}

/** Minimum of a q4_1 block in all lanes; anything for others. */
// @ts-ignore: decorator
@inline
export function oneMinimum<T>(block: usize): v128 {
  return sizeof<T>() == 8 ? oneScale(block + 2) : f32x4.splat(0);
}

/** Minimums of four q4_1 blocks; anything for others. */
// @ts-ignore: decorator
@inline
export function fourMinimums<T>(block0: usize, block1: usize, block2: usize, block3: usize): v128 {
  return sizeof<T>() == 8 ? fourScales(block0 + 2, block1 + 2, block2 + 2, block3 + 2) : f32x4.splat(0);
}

/** Scales of four blocks. */
// @ts-ignore: decorator
@inline
export function fourScales(block0: usize, block1: usize, block2: usize, block3: usize): v128 {
  let bits = v128.load16_lane(block0, i32x4.splat(0), 1);
  bits = v128.load16_lane(block1, bits, 3);
  bits = v128.load16_lane(block2, bits, 5);
  return scaleLanes(v128.load16_lane(block3, bits, 7));
}

/** A lane in all four. */
// @ts-ignore: decorator
@inline
export function spread(lanes: v128, index: i32): v128 {
  if (index == 0) return v128.shuffle<i32>(lanes, lanes, 0, 0, 0, 0);
  if (index == 1) return v128.shuffle<i32>(lanes, lanes, 1, 1, 1, 1);
  if (index == 2) return v128.shuffle<i32>(lanes, lanes, 2, 2, 2, 2);
  return v128.shuffle<i32>(lanes, lanes, 3, 3, 3, 3);
}

/** Bytes of `count` weights. */
export function rowLength(dtype: i32, count: i32): usize {
  if (dtype == DTYPE_F32) return <usize>count << 2;
  if (dtype == DTYPE_F16 || dtype == DTYPE_BF16) return <usize>count << 1;
  return (<usize>count >> 5) * (dtype == DTYPE_Q8_0 ? 34 : dtype == DTYPE_Q4_0 ? 18 : 20);
}

function dequantisePlain<T>(source: usize, target: usize, count: i32): void {
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    v128.store(target + (<usize>index << 2), load4<T>(source + <usize>index * sizeof<T>()));
  }
  for (; index < count; index++) {
    store<f32>(target + (<usize>index << 2), load1<T>(source + <usize>index * sizeof<T>()));
  }
}

function dequantiseBlocks<T>(source: usize, target: usize, count: i32): void {
  const end = target + (<usize>count << 2);
  while (target < end) {
    const scale = oneScale(source);
    const minimum = oneMinimum<T>(source);
    let words = eight0<T>(source);
    v128.store(target, lowFour<T>(words, scale, minimum), 0);
    v128.store(target, highFour<T>(words, scale, minimum), 16);
    words = eight1<T>(source);
    v128.store(target, lowFour<T>(words, scale, minimum), 32);
    v128.store(target, highFour<T>(words, scale, minimum), 48);
    words = eight2<T>(source);
    v128.store(target, lowFour<T>(words, scale, minimum), 64);
    v128.store(target, highFour<T>(words, scale, minimum), 80);
    words = eight3<T>(source);
    v128.store(target, lowFour<T>(words, scale, minimum), 96);
    v128.store(target, highFour<T>(words, scale, minimum), 112);
    target += 128;
    source += blockBytes<T>();
  }
}

/** Writes `count` weights as f32. */
export function dequantise(dtype: i32, source: usize, target: usize, count: i32): void {
  if (dtype == DTYPE_F32) memory.copy(target, source, <usize>count << 2);
  else if (dtype == DTYPE_F16) dequantisePlain<u16>(source, target, count);
  else if (dtype == DTYPE_BF16) dequantisePlain<i16>(source, target, count);
  else if (dtype == DTYPE_Q8_0) dequantiseBlocks<i8>(source, target, count);
  else if (dtype == DTYPE_Q4_0) dequantiseBlocks<u8>(source, target, count);
  else dequantiseBlocks<u64>(source, target, count);
}

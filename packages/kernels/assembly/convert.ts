// Weights to f32. Storage types stand for dtypes: f32 = f32, u16 = f16, i16 = bf16, i8 = q8_0, u8 = q4_0.
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0 } from "./layout";

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
  return isSigned<T>() ? 34 : 18;
}

/** Weights 0..15 of a block as int8. */
// @ts-ignore: decorator
@inline
export function lowHalf<T>(block: usize): v128 {
  if (isSigned<T>()) return v128.load(block, 2);
  return i8x16.sub(v128.and(v128.load(block, 2), i8x16.splat(15)), i8x16.splat(8));
}

/** Weights 16..31 of a block as int8. */
// @ts-ignore: decorator
@inline
export function highHalf<T>(block: usize): v128 {
  if (isSigned<T>()) return v128.load(block, 18);
  return i8x16.sub(i8x16.shr_u(v128.load(block, 2), 4), i8x16.splat(8));
}

/** Four of sixteen int8 as f32, times the block's scale. */
// @ts-ignore: decorator
@inline
export function quarter(bytes: v128, index: i32, scale: v128): v128 {
  const words = index < 2 ? i16x8.extend_low_i8x16_s(bytes) : i16x8.extend_high_i8x16_s(bytes);
  const lanes = (index & 1) == 0 ? i32x4.extend_low_i16x8_s(words) : i32x4.extend_high_i16x8_s(words);
  return f32x4.mul(f32x4.convert_i32x4_s(lanes), scale);
}

/** Bytes of `count` weights. */
export function rowLength(dtype: i32, count: i32): usize {
  if (dtype == DTYPE_F32) return <usize>count << 2;
  if (dtype == DTYPE_F16 || dtype == DTYPE_BF16) return <usize>count << 1;
  return (<usize>count >> 5) * (dtype == DTYPE_Q8_0 ? 34 : 18);
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
    const scale = f32x4.splat(f16Value(load<u16>(source)));
    const low = lowHalf<T>(source);
    v128.store(target, quarter(low, 0, scale));
    v128.store(target, quarter(low, 1, scale), 16);
    v128.store(target, quarter(low, 2, scale), 32);
    v128.store(target, quarter(low, 3, scale), 48);
    const high = highHalf<T>(source);
    v128.store(target, quarter(high, 0, scale), 64);
    v128.store(target, quarter(high, 1, scale), 80);
    v128.store(target, quarter(high, 2, scale), 96);
    v128.store(target, quarter(high, 3, scale), 112);
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
  else dequantiseBlocks<u8>(source, target, count);
}

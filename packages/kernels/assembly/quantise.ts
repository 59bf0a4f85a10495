// f32 to other dtypes: f16 and bf16 to nearest even, blocks as ggml's reference quantisers compute them.
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";

/** The f16 nearest to an f32, ties to even. */
export function halfOf(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x47800000) return sign | 0x7c00;
  // Below 2^-14 the sum's last bit stands for 2^-24, so that the addition rounds.
  if (size < 0x38800000) return sign | (reinterpret<u32>(reinterpret<f32>(size) + 0.5) - 0x3f000000);
  return sign | ((size + 0xfff + ((size >> 13) & 1) - 0x38000000) >> 13);
}

function halfLanes(lanes: v128): v128 {
  const size = v128.and(lanes, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  const usual = i32x4.shr_u(i32x4.sub(i32x4.add(size, odd), i32x4.splat(0x38000000 - 0xfff)), 13);
  const small = i32x4.sub(f32x4.add(size, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  let half = v128.bitselect(small, usual, i32x4.lt_s(size, i32x4.splat(0x38800000)));
  half = v128.bitselect(i32x4.splat(0x7c00), half, i32x4.ge_s(size, i32x4.splat(0x47800000)));
  half = v128.bitselect(i32x4.splat(0x7e00), half, i32x4.gt_s(size, i32x4.splat(0x7f800000)));
  return v128.or(half, v128.and(i32x4.shr_u(lanes, 16), i32x4.splat(0x8000)));
}

function encodeHalves(source: usize, target: usize, count: i32): void {
  for (; count >= 8; count -= 8) {
    v128.store(target, i16x8.narrow_i32x4_u(halfLanes(v128.load(source)), halfLanes(v128.load(source, 16))));
    source += 32;
    target += 16;
  }
  for (; count > 0; count--) {
    store<u16>(target, <u16>halfOf(load<f32>(source)));
    source += 4;
    target += 2;
  }
}

function encodeBrains(source: usize, target: usize, count: i32): void {
  for (let i: usize = 0; i < <usize>count; i++) {
    const bits = load<u32>(source + (i << 2));
    const missing = (bits & 0x7fffffff) > 0x7f800000;
    store<u16>(target + (i << 1), <u16>(missing ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
  }
}

/** Largest absolute value of 32. */
// @ts-ignore: decorator
@inline
export function largestOf32(source: usize): f32 {
  let a = f32x4.abs(v128.load(source));
  let b = f32x4.abs(v128.load(source, 16));
  a = f32x4.max(a, f32x4.abs(v128.load(source, 32)));
  b = f32x4.max(b, f32x4.abs(v128.load(source, 48)));
  a = f32x4.max(a, f32x4.abs(v128.load(source, 64)));
  b = f32x4.max(b, f32x4.abs(v128.load(source, 80)));
  a = f32x4.max(a, f32x4.abs(v128.load(source, 96)));
  b = f32x4.max(b, f32x4.abs(v128.load(source, 112)));
  a = f32x4.max(a, b);
  a = f32x4.max(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1));
}

/** Half away from zero; adding 0.5 and cutting would round twice. */
// @ts-ignore: decorator
@inline
function awayLanes(source: usize, inverse: v128): v128 {
  const lanes = f32x4.mul(v128.load(source), inverse);
  const whole = f32x4.trunc(lanes);
  const rest = f32x4.sub(lanes, whole);
  const one = v128.or(f32x4.splat(1), v128.and(lanes, i32x4.splat(0x80000000)));
  const far = f32x4.ge(f32x4.abs(rest), f32x4.splat(0.5));
  return i32x4.trunc_sat_f32x4_s(f32x4.add(whole, v128.and(one, far)));
}

function encodeBytes(source: usize, target: usize): void {
  const scale = largestOf32(source) / 127;
  const inverse = f32x4.splat(scale == 0 ? 0 : 1 / scale);
  store<u16>(target, <u16>halfOf(scale));
  for (let i: usize = 0; i < 2; i++) {
    const from = source + (i << 6);
    const low = i16x8.narrow_i32x4_s(awayLanes(from, inverse), awayLanes(from + 16, inverse));
    const high = i16x8.narrow_i32x4_s(awayLanes(from + 32, inverse), awayLanes(from + 48, inverse));
    v128.store(target + (i << 4), i8x16.narrow_i16x8_s(low, high), 2);
  }
}

/** One of 16 levels: the value less `lowest`, in steps. */
// @ts-ignore: decorator
@inline
function nibble(place: usize, lowest: f32, inverse: f32, offset: f32): u32 {
  return <u32>min<i32>(15, <i32>((load<f32>(place) - lowest) * inverse + offset)) & 15;
}

function encodeNibbles(source: usize, target: usize, lowest: f32, inverse: f32, offset: f32): void {
  for (let i: usize = 0; i < 16; i++) {
    const low = nibble(source + (i << 2), lowest, inverse, offset);
    store<u8>(target + i, <u8>(low | (nibble(source + (i << 2) + 64, lowest, inverse, offset) << 4)));
  }
}

function encodeSigned(source: usize, target: usize): void {
  let extreme: f32 = 0;
  for (let i: usize = 0; i < 32; i++) {
    const value = load<f32>(source + (i << 2));
    if (abs(value) > abs(extreme)) extreme = value;
  }
  const scale = extreme / -8;
  store<u16>(target, <u16>halfOf(scale));
  encodeNibbles(source, target + 2, 0, scale == 0 ? 0 : 1 / scale, 8.5);
}

function encodeOffset(source: usize, target: usize): void {
  let lowest = load<f32>(source);
  let highest = lowest;
  for (let i: usize = 1; i < 32; i++) {
    const value = load<f32>(source + (i << 2));
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  const scale = (highest - lowest) / 15;
  store<u16>(target, <u16>halfOf(scale));
  store<u16>(target, <u16>halfOf(lowest), 2);
  encodeNibbles(source, target + 4, lowest, scale == 0 ? 0 : 1 / scale, 0.5);
}

/** Writes `count` f32 as a row of `dtype`. */
export function encodeRow(dtype: i32, source: usize, target: usize, count: i32): void {
  if (dtype == DTYPE_F32) memory.copy(target, source, <usize>count << 2);
  else if (dtype == DTYPE_F16) encodeHalves(source, target, count);
  else if (dtype == DTYPE_BF16) encodeBrains(source, target, count);
  else {
    const end = source + (<usize>count << 2);
    for (; source < end; source += 128) {
      if (dtype == DTYPE_Q8_0) {
        encodeBytes(source, target);
        target += 34;
      } else if (dtype == DTYPE_Q4_0) {
        encodeSigned(source, target);
        target += 18;
      } else {
        encodeOffset(source, target);
        target += 20;
      }
    }
  }
}

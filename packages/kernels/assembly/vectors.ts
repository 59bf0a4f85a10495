// add: dim, scale (f32), source, target. copy: the same. softCap: dim, cap (f32), vector. softmax: dim, temperature (f32), vector.
// argmax: dim, source, target. convert: sourceDtype, targetDtype, dim, source, target.
import { axpy } from "./axpy";
import { dequantise, rowLength } from "./convert";
import { DTYPE_F32 } from "./layout";
import { expNegative4, softCapped } from "./math";
import { encodeRow } from "./quantise";
import { rowsOf } from "./rows";

/** Elements of a unit. */
const UNIT = 64;
/** Elements that `convert` takes through scratch at once; whole blocks. */
const PIECE = 1024;

/** Units of vectors: UNIT elements each. */
export function vectorUnits(op: usize, tokens: i32): i32 {
  return <i32>((<i64>tokens * load<i32>(op) + UNIT - 1) / UNIT);
}

/** Elements before `unit` of a vector, at most all. */
// @ts-ignore: decorator
@inline
function elementsBefore(op: usize, unit: i32, tokens: i32): usize {
  return <usize>min<i64>(<i64>unit * UNIT, <i64>tokens * load<i32>(op));
}

/** target = scale * source, element by element. */
export function scaleFloats(scale: f32, source: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(scale);
  for (; count >= 4; count -= 4) {
    v128.store(target, f32x4.mul(lanes, v128.load(source)));
    source += 16;
    target += 16;
  }
  for (; count > 0; count--) {
    store<f32>(target, scale * load<f32>(source));
    source += 4;
    target += 4;
  }
}

/** Units [first, last). */
export function addVector(op: usize, first: i32, last: i32, tokens: i32): void {
  const begin = elementsBefore(op, first, tokens);
  const count = <i32>(elementsBefore(op, last, tokens) - begin);
  const at = begin << 2;
  axpy(DTYPE_F32, load<f32>(op, 4), <usize>load<u32>(op, 8) + at, <usize>load<u32>(op, 12) + at, count);
}

/** Units [first, last). */
export function copyVector(op: usize, first: i32, last: i32, tokens: i32): void {
  const begin = elementsBefore(op, first, tokens);
  const count = <i32>(elementsBefore(op, last, tokens) - begin);
  const scale = load<f32>(op, 4);
  const source = <usize>load<u32>(op, 8) + (begin << 2);
  const target = <usize>load<u32>(op, 12) + (begin << 2);
  if (scale == 0) memory.fill(target, 0, <usize>count << 2);
  else if (scale == 1) memory.copy(target, source, <usize>count << 2);
  else scaleFloats(scale, source, target, count);
}

/** Units [first, last). */
export function softCap(op: usize, first: i32, last: i32, tokens: i32): void {
  const end = <usize>load<u32>(op, 8) + (elementsBefore(op, last, tokens) << 2);
  let place = <usize>load<u32>(op, 8) + (elementsBefore(op, first, tokens) << 2);
  for (; place < end; place += 4) store<f32>(place, softCapped(load<f32>(op, 4), load<f32>(place)));
}

/** The largest of `count` values; NaN loses against every number. */
function largestOf(source: usize, count: i32): f32 {
  let lanes = f32x4.splat(-Infinity);
  let index = 0;
  for (; index + 4 <= count; index += 4) lanes = f32x4.pmax(lanes, v128.load(source + (<usize>index << 2)));
  lanes = f32x4.pmax(lanes, v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1));
  const other = f32x4.extract_lane(lanes, 1);
  let largest = f32x4.extract_lane(lanes, 0);
  if (other > largest) largest = other;
  for (; index < count; index++) {
    const value = load<f32>(source + (<usize>index << 2));
    if (value > largest) largest = value;
  }
  return largest;
}

// @ts-ignore: decorator
@inline
function shares(lanes: v128, largest: v128, temperature: v128): v128 {
  return expNegative4(f32x4.div(f32x4.sub(lanes, largest), temperature));
}

function softmaxRow(row: usize, count: i32, temperature: f32): void {
  const largest = f32x4.splat(largestOf(row, count));
  const divisor = f32x4.splat(temperature);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    const place = row + (<usize>index << 2);
    const lanes = shares(v128.load(place), largest, divisor);
    v128.store(place, lanes);
    low = f64x2.add(low, f64x2.promote_low_f32x4(lanes));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1)));
  }
  low = f64x2.add(low, high);
  let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  for (; index < count; index++) {
    const place = row + (<usize>index << 2);
    const share = f32x4.extract_lane(shares(v128.load32_splat(place), largest, divisor), 0);
    store<f32>(place, share);
    sum += <f64>share;
  }
  scaleFloats(<f32>(1 / sum), row, row, count);
}

/** Tokens [first, last). */
export function softmax(op: usize, first: i32, last: i32): void {
  const dim = load<i32>(op);
  for (let t = first; t < last; t++) {
    softmaxRow(<usize>load<u32>(op, 8) + (<usize>t * <usize>dim << 2), dim, load<f32>(op, 4));
  }
}

function indexOf(source: usize, count: i32, wanted: f32): u32 {
  let index = 0;
  const lanes = f32x4.splat(wanted);
  while (index + 4 <= count && !v128.any_true(f32x4.eq(v128.load(source + (<usize>index << 2)), lanes))) index += 4;
  while (index < count && load<f32>(source + (<usize>index << 2)) != wanted) index++;
  return index < count ? index : 0;
}

/** Tokens [first, last). */
export function argmax(op: usize, first: i32, last: i32): void {
  const dim = load<i32>(op);
  for (let t = first; t < last; t++) {
    const row = <usize>load<u32>(op, 4) + (<usize>t * <usize>dim << 2);
    store<u32>(<usize>load<u32>(op, 8) + (<usize>t << 2), indexOf(row, dim, largestOf(row, dim)));
  }
}

/** Units are pieces of rows. */
export function convertUnits(op: usize, tokens: i32): i32 {
  return tokens * ((load<i32>(op, 8) + PIECE - 1) / PIECE);
}

/** Units [first, last). */
export function convert(op: usize, first: i32, last: i32, thread: i32): void {
  const sourceDtype = load<i32>(op);
  const targetDtype = load<i32>(op, 4);
  const dim = load<i32>(op, 8);
  const pieces = (dim + PIECE - 1) / PIECE;
  const scratch = rowsOf(thread);
  for (let unit = first; unit < last; unit++) {
    const token = <usize>(unit / pieces);
    const begin = (unit % pieces) * PIECE;
    const count = min(PIECE, dim - begin);
    const source = <usize>load<u32>(op, 12) + token * rowLength(sourceDtype, dim) + rowLength(sourceDtype, begin);
    const target = <usize>load<u32>(op, 16) + token * rowLength(targetDtype, dim) + rowLength(targetDtype, begin);
    dequantise(sourceDtype, source, scratch, count);
    encodeRow(targetDtype, scratch, target, count);
  }
}

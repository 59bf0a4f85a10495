// Command: hidden, stride, dtype, offset, addresses, positionCount, activation, activationStride, target, bias[2].
import { blockBytes, dequantise, f16Value, highHalf, load1, load4, lowHalf, quarter, rowLength } from "./convert";
import { recordAt } from "./ffn";
import { DTYPE_BF16, DTYPE_F16, DTYPE_F32, DTYPE_Q8_0 } from "./layout";
import { baseOf, dotsOf, scratchOf, splitAt } from "./rows";

// @ts-ignore: decorator
@inline
function add(place: usize, weights: v128, factor: v128): void {
  v128.store(place, f32x4.add(v128.load(place), f32x4.mul(factor, weights)));
}

function axpyPlain<T>(factor: f32, row: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor);
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    add(target + (<usize>index << 2), load4<T>(row + <usize>index * sizeof<T>()), lanes);
  }
  for (; index < count; index++) {
    const place = target + (<usize>index << 2);
    store<f32>(place, load<f32>(place) + factor * load1<T>(row + <usize>index * sizeof<T>()));
  }
}

function axpyBlocks<T>(factor: f32, row: usize, target: usize, count: i32): void {
  const lanes = f32x4.splat(factor);
  const end = target + (<usize>count << 2);
  while (target < end) {
    const scale = f32x4.splat(f16Value(load<u16>(row)));
    const low = lowHalf<T>(row);
    add(target, quarter(low, 0, scale), lanes);
    add(target + 16, quarter(low, 1, scale), lanes);
    add(target + 32, quarter(low, 2, scale), lanes);
    add(target + 48, quarter(low, 3, scale), lanes);
    const high = highHalf<T>(row);
    add(target + 64, quarter(high, 0, scale), lanes);
    add(target + 80, quarter(high, 1, scale), lanes);
    add(target + 96, quarter(high, 2, scale), lanes);
    add(target + 112, quarter(high, 3, scale), lanes);
    row += blockBytes<T>();
    target += 128;
  }
}

/** target += factor * row, element by element. */
export function axpy(dtype: i32, factor: f32, row: usize, target: usize, count: i32): void {
  if (dtype == DTYPE_F32) axpyPlain<f32>(factor, row, target, count);
  else if (dtype == DTYPE_F16) axpyPlain<u16>(factor, row, target, count);
  else if (dtype == DTYPE_BF16) axpyPlain<i16>(factor, row, target, count);
  else if (dtype == DTYPE_Q8_0) axpyBlocks<i8>(factor, row, target, count);
  else axpyBlocks<u8>(factor, row, target, count);
}

/** Four f32 rows in one pass over the target, in order; the sums are those of four single passes. */
export function axpy4(factors: usize, row0: usize, row1: usize, row2: usize, row3: usize, target: usize, count: i32): void {
  const f0 = load<f32>(factors);
  const f1 = load<f32>(factors, 4);
  const f2 = load<f32>(factors, 8);
  const f3 = load<f32>(factors, 12);
  const l0 = f32x4.splat(f0);
  const l1 = f32x4.splat(f1);
  const l2 = f32x4.splat(f2);
  const l3 = f32x4.splat(f3);
  const full = <usize>(count & ~3) << 2;
  let at: usize = 0;
  for (; at < full; at += 16) {
    let sum = f32x4.add(v128.load(target + at), f32x4.mul(l0, v128.load(row0 + at)));
    sum = f32x4.add(sum, f32x4.mul(l1, v128.load(row1 + at)));
    sum = f32x4.add(sum, f32x4.mul(l2, v128.load(row2 + at)));
    sum = f32x4.add(sum, f32x4.mul(l3, v128.load(row3 + at)));
    v128.store(target + at, sum);
  }
  for (; at < <usize>count << 2; at += 4) {
    let sum = load<f32>(target + at) + f0 * load<f32>(row0 + at);
    sum += f1 * load<f32>(row1 + at);
    sum += f2 * load<f32>(row2 + at);
    sum += f3 * load<f32>(row3 + at);
    store<f32>(target + at, sum);
  }
}

function downMany(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = <usize>load<u32>(op);
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const activation = <usize>load<u32>(op, 24);
  const pitch = <usize>load<u32>(op, 28);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  const rowBytes = ((<usize>count * 4 + 63) & ~63) + 64;
  const scratch = scratchOf(thread);
  const factors = dotsOf(thread);
  for (let p = 0; p < positions; p += 4) {
    const group = min(4, positions - p);
    for (let k = 0; k < group; k++) {
      const record = recordAt(load<u32>(op, 16), p + k, load<u32>(op, 4));
      if (record == 0) return;
      dequantise(dtype, record + offset, scratch + <usize>k * rowBytes, count);
    }
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const values = activation + ((t * pitch + <usize>p) << 2);
      let live = 0;
      for (let k = 0; k < group; k++) live += i32(load<f32>(values + (<usize>k << 2)) != 0);
      const place = target + (t * hidden << 2);
      if (live == 4) {
        memory.copy(factors, values, 16);
        axpy4(factors, scratch, scratch + rowBytes, scratch + 2 * rowBytes, scratch + 3 * rowBytes, place, count);
      } else if (live > 0) {
        for (let k = 0; k < group; k++) {
          const factor = load<f32>(values + (<usize>k << 2));
          if (factor != 0) axpyPlain<f32>(factor, scratch + <usize>k * rowBytes, place, count);
        }
      }
    }
  }
}

function downOne(op: usize, positions: i32, first: i32, count: i32): void {
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const activation = <usize>load<u32>(op, 24);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  for (let p = 0; p < positions; p++) {
    const factor = load<f32>(activation + (<usize>p << 2));
    if (factor == 0) continue;
    const record = recordAt(load<u32>(op, 16), p, load<u32>(op, 4));
    if (record == 0) return;
    axpy(dtype, factor, record + offset, target, count);
  }
}

/** Threads share the output elements in blocks of 32; every element sums its positions in ascending order. */
export function ffnDown(op: usize, tokens: i32, thread: i32, threads: i32): void {
  const hidden = load<i32>(op);
  const blocks = (hidden + 31) >> 5;
  const first = splitAt(blocks, thread, threads) << 5;
  const count = min(splitAt(blocks, thread + 1, threads) << 5, hidden) - first;
  if (count <= 0) return;
  const positions = load<i32>(load<u32>(op, 20));
  if (tokens == 1) downOne(op, positions, first, count);
  else downMany(op, positions, first, count, tokens, thread);
  const bias = baseOf(op + 36);
  if (!bias) return;
  for (let t = 0; t < tokens; t++) {
    const place = <usize>load<u32>(op, 32) + ((<usize>t * <usize>hidden + <usize>first) << 2);
    axpyPlain<f32>(1, bias + (<usize>first << 2), place, count);
  }
}

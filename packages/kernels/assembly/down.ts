// Command: hidden, stride, dtype, offset, addresses, positionCount, activation, activationStride, target, bias[2].
import { axpy, axpy4 } from "./axpy";
import { dequantise, rowLength } from "./convert";
import { recordAt } from "./ffn";
import { DTYPE_F32 } from "./layout";
import { baseOf, dotsOf, rowsOf } from "./rows";

function downMany(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = <usize>load<u32>(op);
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const activation = <usize>load<u32>(op, 24);
  const pitch = <usize>load<u32>(op, 28);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  const rowBytes = ((<usize>count * 4 + 63) & ~63) + 64;
  const scratch = rowsOf(thread);
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
        axpy4(DTYPE_F32, factors, scratch, scratch + rowBytes, scratch + 2 * rowBytes, scratch + 3 * rowBytes, place, count);
      } else if (live > 0) {
        for (let k = 0; k < group; k++) {
          const factor = load<f32>(values + (<usize>k << 2));
          if (factor != 0) axpy(DTYPE_F32, factor, scratch + <usize>k * rowBytes, place, count);
        }
      }
    }
  }
}

function downOne(op: usize, positions: i32, first: i32, count: i32, thread: i32): void {
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const activation = <usize>load<u32>(op, 24);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  // Rows of live positions wait in groups of four, so that the target is loaded and stored once per group.
  const factors = dotsOf(thread);
  const rows = factors + 16;
  let waiting: usize = 0;
  for (let p = 0; p < positions; p++) {
    const factor = load<f32>(activation + (<usize>p << 2));
    if (factor == 0) continue;
    const record = recordAt(load<u32>(op, 16), p, load<u32>(op, 4));
    if (record == 0) return;
    store<f32>(factors + (waiting << 2), factor);
    store<u32>(rows + (waiting << 2), <u32>(record + offset));
    if (++waiting < 4) continue;
    waiting = 0;
    axpy4(dtype, factors, load<u32>(rows), load<u32>(rows, 4), load<u32>(rows, 8), load<u32>(rows, 12), target, count);
  }
  for (let k: usize = 0; k < waiting; k++) {
    axpy(dtype, load<f32>(factors + (k << 2)), load<u32>(rows + (k << 2)), target, count);
  }
}

/** Adds all positions, then the bias, to the output elements [first, first + count). */
function downSlice(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = load<i32>(op);
  if (tokens == 1) downOne(op, positions, first, count, thread);
  else downMany(op, positions, first, count, tokens, thread);
  const bias = baseOf(op + 36);
  if (!bias) return;
  for (let t = 0; t < tokens; t++) {
    const place = <usize>load<u32>(op, 32) + ((<usize>t * <usize>hidden + <usize>first) << 2);
    axpy(DTYPE_F32, 1, bias + (<usize>first << 2), place, count);
  }
}

/** Units are blocks of 32 output elements; every element sums its positions in ascending order. */
export function downUnits(op: usize): i32 {
  return (load<i32>(op) + 31) >> 5;
}

/** Units [first, last). */
export function ffnDown(op: usize, first: i32, last: i32, tokens: i32, thread: i32): void {
  const begin = first << 5;
  downSlice(op, load<i32>(load<u32>(op, 20)), begin, min(last << 5, load<i32>(op)) - begin, tokens, thread);
}

// Command: hidden, stride, dtype, offset, addresses, positionCount, activation, activationStride, target, bias[2].
import { axpy, axpy4 } from "./axpy";
import { axpyBlocks4 } from "./axpy-blocks";
import { dequantise, rowLength } from "./convert";
import { recordAt } from "./ffn";
import { allFinite4, axpyHalves4, factorsFit } from "./halves";
import { DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";
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

/** Keeps loads that fetch lines from being left out. */
let fetched: u32 = 0;

/** Four live positions: their factors, then the addresses of their rows. */
const GROUP_BYTES: usize = 32;

/** Next position to look at; fills a group from there. */
let position: i32 = 0;

/** Fills a group with live positions from `position` on; how many. */
function fillGroup(op: usize, group: usize, positions: i32, offset: usize): i32 {
  const activation = <usize>load<u32>(op, 24);
  let count: usize = 0;
  while (position < positions && count < 4) {
    const factor = load<f32>(activation + (<usize>position << 2));
    if (factor != 0) {
      const record = recordAt(load<u32>(op, 16), position, load<u32>(op, 4));
      if (record == 0) return 0;
      store<f32>(group + (count << 2), factor);
      store<u32>(group + (count << 2), <u32>(record + offset), 16);
      count++;
    }
    position++;
  }
  return <i32>count;
}

/** Whether the rows of the group at hand are known to have no infinite weight or NaN. */
let finite: bool = false;

/**
 * Adds a whole group. Records lie anywhere, and prefetchers start anew with each: the lines of the next group's rows are loaded on
 * the way, a few instructions of every step, so that they arrive while this one is computed (bench/ops.mjs).
 */
function addGroup(dtype: i32, group: usize, next: usize, nextCount: i32, target: usize, count: i32): void {
  const row0 = <usize>load<u32>(group, 16);
  const row1 = <usize>load<u32>(group, 20);
  const row2 = <usize>load<u32>(group, 24);
  const row3 = <usize>load<u32>(group, 28);
  // Rows that are missing are those of this group again.
  const next0 = nextCount > 0 ? <usize>load<u32>(next, 16) : row0;
  const next1 = nextCount > 1 ? <usize>load<u32>(next, 20) : row1;
  const next2 = nextCount > 2 ? <usize>load<u32>(next, 24) : row2;
  const next3 = nextCount > 3 ? <usize>load<u32>(next, 28) : row3;
  if (dtype == DTYPE_Q8_0) {
    fetched += axpyBlocks4<i8>(group, row0, row1, row2, row3, next0, next1, next2, next3, target, count);
  } else if (dtype == DTYPE_Q4_0) {
    fetched += axpyBlocks4<u8>(group, row0, row1, row2, row3, next0, next1, next2, next3, target, count);
  } else if (dtype == DTYPE_F16 && (count & 7) == 0 && factorsFit(group) && (finite || allFinite4(row0, row1, row2, row3, count))) {
    finite = axpyHalves4(group, row0, row1, row2, row3, next0, next1, next2, next3, target, count);
  } else {
    finite = false;
    axpy4(dtype, group, row0, row1, row2, row3, target, count);
  }
}

function downOne(op: usize, positions: i32, first: i32, count: i32, thread: i32): void {
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  // Rows are added four at a time, so that the target is loaded and stored once per group.
  let group = dotsOf(thread);
  let next = group + GROUP_BYTES;
  position = 0;
  finite = false;
  let live = fillGroup(op, group, positions, offset);
  while (live == 4) {
    const nextLive = fillGroup(op, next, positions, offset);
    addGroup(dtype, group, next, nextLive, target, count);
    const spare = group;
    group = next;
    next = spare;
    live = nextLive;
  }
  for (let k: usize = 0; k < <usize>live; k++) {
    axpy(dtype, load<f32>(group + (k << 2)), load<u32>(group + (k << 2), 16), target, count);
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

// Command: hidden, stride, dtype, offset, addresses, positionCount, activation, activationStride, target, bias[2].
import { axpy, axpy4 } from "./axpy";
import { axpyBlocks8 } from "./axpy-blocks";
import { rowLength } from "./convert";
import { downBlocks, downPlain } from "./down-many";
import { recordAt } from "./ffn";
import { allFinite4, axpyGroup, factorsFit } from "./halves";
import { DTYPE_F16, DTYPE_F32, DTYPE_Q4_0, DTYPE_Q8_0 } from "./layout";
import { baseOf, dotsOf } from "./rows";

/**
 * Live positions whose rows meet the target together. Records lie anywhere, and prefetchers start anew with each: the first lines of
 * eight rows are awaited at once (bench/ops.mjs, sparse FFN).
 */
const GROUP: i32 = 8;
/** A group: the factors of its positions, then the addresses of their rows. There are two, and behind them scratch for each. */
const GROUP_BYTES: usize = 64;

/** Next position to look at; fills a group from there. */
let position: i32 = 0;

/** Fills a group with live positions from `position` on; how many. */
function fillGroup(op: usize, group: usize, positions: i32, offset: usize): i32 {
  const activation = <usize>load<u32>(op, 24);
  let count: usize = 0;
  while (position < positions && count < <usize>GROUP) {
    const factor = load<f32>(activation + (<usize>position << 2));
    if (factor != 0) {
      const record = recordAt(load<u32>(op, 16), position, load<u32>(op, 4));
      if (record == 0) return 0;
      store<f32>(group + (count << 2), factor);
      store<u32>(group + (count << 2), <u32>(record + offset), 32);
      count++;
    }
    position++;
  }
  return <i32>count;
}

/** Whether the four rows that come next are known to have no infinite weight or NaN. */
let finite: bool = false;

/** Adds four rows of f16, while the four of `next` are loaded and looked at. */
function addHalves(group: usize, next: usize, target: usize, count: i32): void {
  const row0 = <usize>load<u32>(group, 32);
  const row1 = <usize>load<u32>(group, 36);
  const row2 = <usize>load<u32>(group, 40);
  const row3 = <usize>load<u32>(group, 44);
  if ((count & 7) == 0 && factorsFit(group) && (finite || allFinite4(row0, row1, row2, row3, count))) {
    finite = axpyGroup(group, next, target, count);
  } else {
    finite = false;
    axpy4(DTYPE_F16, group, row0, row1, row2, row3, target, count);
  }
}

/** Adds a whole group, rows in order; `next` is a group as well. */
function addGroup(dtype: i32, group: usize, next: usize, target: usize, count: i32): void {
  if (dtype == DTYPE_Q8_0) axpyBlocks8<i8>(group, target, count);
  else if (dtype == DTYPE_Q4_0) axpyBlocks8<u8>(group, target, count);
  else if (dtype == DTYPE_F16) {
    addHalves(group, group + 16, target, count);
    addHalves(group + 16, next, target, count);
  } else {
    for (let rows = group; rows < group + 32; rows += 16) {
      axpy4(dtype, rows, load<u32>(rows, 32), load<u32>(rows, 36), load<u32>(rows, 40), load<u32>(rows, 44), target, count);
    }
  }
}

function downOne(op: usize, positions: i32, first: i32, count: i32, thread: i32): void {
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  let group = dotsOf(thread);
  let next = group + GROUP_BYTES;
  position = 0;
  finite = false;
  let live = fillGroup(op, group, positions, offset);
  while (live == GROUP) {
    const nextLive = fillGroup(op, next, positions, offset);
    // Where there are no more, any rows will do.
    addGroup(dtype, group, nextLive == GROUP ? next : group, target, count);
    const spare = group;
    group = next;
    next = spare;
    live = nextLive;
  }
  for (let k: usize = 0; k < <usize>live; k++) {
    axpy(dtype, load<f32>(group + (k << 2)), load<u32>(group + (k << 2), 32), target, count);
  }
}

/** Adds all positions, then the bias, to the output elements [first, first + count). */
function downSlice(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = load<i32>(op);
  const dtype = load<i32>(op, 8);
  if (tokens == 1) downOne(op, positions, first, count, thread);
  else if (dtype == DTYPE_Q8_0) downBlocks<i8>(op, positions, first, count, tokens, thread);
  else if (dtype == DTYPE_Q4_0) downBlocks<u8>(op, positions, first, count, tokens, thread);
  else downPlain(op, positions, first, count, tokens, thread);
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

// Groups of four rows times groups of up to four tokens: what matmul, FFN and scores have in common.
import { dequantise } from "./convert";
import { dot4 } from "./dot";
import { DTYPE_F32, DTYPE_Q8_0, SCRATCH_BASE, SCRATCH_BYTES, SCRATCH_DOTS } from "./layout";
import { roundedDots } from "./rounded";
import { tile2x4 } from "./tile";

/** Pieces of work that a thread claims at a time: small enough that a thread which wakes late, or loses its core to a read, holds nobody up. */
// @ts-ignore: decorator
@inline
export function claimSize(count: i32, threads: i32, claimsPerThread: i32): i32 {
  return threads == 1 ? max(1, count) : max(1, count / (threads * claimsPerThread));
}

/** First piece of the next claim; at or beyond the count when nothing is left. Who does a piece changes no result. */
// @ts-ignore: decorator
@inline
export function claim(ticket: usize, size: i32): i32 {
  return atomic.add<i32>(ticket, size);
}

/** First unit of `thread` when `count` units are split evenly. */
// @ts-ignore: decorator
@inline
export function splitAt(count: i32, thread: i32, threads: i32): i32 {
  return <i32>((<i64>count * thread) / threads);
}

/** Scratch of a thread. */
// @ts-ignore: decorator
@inline
export function scratchOf(thread: i32): usize {
  return <usize>SCRATCH_BASE + <usize>thread * <usize>SCRATCH_BYTES;
}

/** Dot results of a thread: `[4 tokens, 4 rows]`. */
// @ts-ignore: decorator
@inline
export function dotsOf(thread: i32): usize {
  return scratchOf(thread) + SCRATCH_DOTS;
}

/** Address of a reference `[addressWord, offset]`; 0 when there is none. */
// @ts-ignore: decorator
@inline
export function baseOf(reference: usize): usize {
  const word = load<u32>(reference);
  return (word ? <usize>load<u32>(word) << 4 : 0) + load<u32>(reference, 4);
}

/** Whether dots with rows of this dtype take a rounded source; `precision` is the word of the command. */
// @ts-ignore: decorator
@inline
export function isRounded(precision: u32, dtype: i32): bool {
  return precision != 0 && dtype >= DTYPE_Q8_0;
}

/** A row ready for `groupDots`: itself for one token, f32 or a rounded source, else converted once into scratch. */
export function prepareRow(dtype: i32, row: usize, slot: i32, count: i32, tokens: i32, rounded: bool, thread: i32): usize {
  if (tokens == 1 || dtype == DTYPE_F32 || rounded) return row;
  // One line more than a multiple of 64, so that the four rows do not compete for the same cache sets.
  const target = scratchOf(thread) + <usize>slot * (((<usize>count * 4 + 63) & ~63) + 64);
  dequantise(dtype, row, target, count);
  return target;
}

/** Dots of four prepared rows with tokens `first .. first + group - 1` of `x` `[tokens, count]`, which are the tile of rounded ones. */
export function groupDots(
  dtype: i32, row0: usize, row1: usize, row2: usize, row3: usize,
  x: usize, count: i32, first: i32, group: i32, tokens: i32, rounded: bool, thread: i32, out: usize,
): void {
  if (rounded) {
    roundedDots(dtype, row0, row1, row2, row3, count, group, thread, out);
    return;
  }
  const stride = <usize>count << 2;
  const x0 = x + <usize>first * stride;
  if (tokens == 1) {
    dot4(dtype, row0, row1, row2, row3, x0, count, out);
    return;
  }
  const x1 = group > 1 ? x0 + stride : x0;
  const x2 = group > 2 ? x1 + stride : x0;
  const x3 = group > 3 ? x2 + stride : x0;
  tile2x4(row0, row1, x0, x1, x2, x3, count, out);
  if (row2 != row0) tile2x4(row2, row3, x0, x1, x2, x3, count, out + 8);
}

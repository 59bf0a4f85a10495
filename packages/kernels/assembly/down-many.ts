// The down projection of several tokens: rows are widened once, four at a time, and added to every token that has use for them.
import { axpy, axpy4 } from "./axpy";
import { axpyNumbers, axpyNumbers4, storeBlocks } from "./axpy-blocks";
import { dequantise, rowLength } from "./convert";
import { recordAt } from "./ffn";
import { DTYPE_F32 } from "./layout";
import { dotsOf, rowsOf } from "./rows";

/** From one row of scratch to the next: one line more than a multiple of 64, so that the rows do not compete for cache sets. */
// @ts-ignore: decorator
@inline
function pitchOf(count: i32): usize {
  return ((<usize>count * 4 + 63) & ~63) + 64;
}

/** Positions of a group whose activation is not zero. */
// @ts-ignore: decorator
@inline
function liveOf(values: usize, group: i32): i32 {
  let live = 0;
  for (let k = 0; k < group; k++) live += i32(load<f32>(values + (<usize>k << 2)) != 0);
  return live;
}

/** Adds all positions to the elements [first, first + count) of all tokens, from rows that become f32 once. */
export function downPlain(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = <usize>load<u32>(op);
  const dtype = load<i32>(op, 8);
  const offset = <usize>load<u32>(op, 12) + rowLength(dtype, first);
  const activation = <usize>load<u32>(op, 24);
  const pitch = <usize>load<u32>(op, 28);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  const rowBytes = pitchOf(count);
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
      const live = liveOf(values, group);
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

/** Elements of a piece: the scales of four rows of so many fit a thread's dots. */
const PIECE: i32 = 1024;
/** Where they are in it. */
const SCALES: usize = 256;

function downPiece<T>(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  const hidden = <usize>load<u32>(op);
  const offset = <usize>load<u32>(op, 12) + rowLength(load<i32>(op, 8), first);
  const target = <usize>load<u32>(op, 32) + (<usize>first << 2);
  const pitch = pitchOf(count);
  const scratch = rowsOf(thread);
  const scales = dotsOf(thread) + SCALES;
  for (let p = 0; p < positions; p += 4) {
    const group = min(4, positions - p);
    for (let k = 0; k < group; k++) {
      const record = recordAt(load<u32>(op, 16), p + k, load<u32>(op, 4));
      if (record == 0) return;
      storeBlocks<T>(record + offset, scratch + <usize>k * pitch, scales + (<usize>k << 2), count);
    }
    for (let t: usize = 0; t < <usize>tokens; t++) {
      const values = <usize>load<u32>(op, 24) + ((t * <usize>load<u32>(op, 28) + <usize>p) << 2);
      const place = target + (t * hidden << 2);
      if (liveOf(values, group) == 4) {
        axpyNumbers4(values, scratch, pitch, scales, place, count);
        continue;
      }
      for (let k: usize = 0; k < <usize>group; k++) {
        const factor = load<f32>(values + (k << 2));
        if (factor != 0) axpyNumbers(factor, scratch + k * pitch, scales + (k << 2), place, count);
      }
    }
  }
}

/** As `downPlain`, from rows of blocks; the sums are those of one token. */
export function downBlocks<T>(op: usize, positions: i32, first: i32, count: i32, tokens: i32, thread: i32): void {
  for (let done = 0; done < count; done += PIECE) {
    downPiece<T>(op, positions, first + done, min(PIECE, count - done), tokens, thread);
  }
}

// Vectors that loops keep in registers: V8 makes one that is written as a constant anew each time round (bench/ops.mjs).
import { CONSTANTS } from "./layout";

/** Four selectors of `topBytes`, one per quarter of 16 bytes. */
export const SELECT_BYTES: usize = CONSTANTS;
/** 1 in every int16. */
export const ONES: usize = CONSTANTS + 64;
/** In every word: all bits of a f16 in the upper half but the sign. */
export const SIZE_BITS: usize = CONSTANTS + 80;
/** What moves the exponent of a f16 to that of a f32. */
export const REBASE: usize = CONSTANTS + 96;
/** 2^-14, the smallest normal f16. */
export const SMALLEST: usize = CONSTANTS + 112;
/** The largest bits of a finite f16, as they stand in a f32 before its exponent is rebased. */
export const FINITE: usize = CONSTANTS + 128;
/** The sign and the upper eleven bits of a f16 that was moved down by three. */
export const UPPER_BITS: usize = CONSTANTS + 144;

/** Writes them. Called once, before any worker starts. */
export function fillConstants(): void {
  for (let quarter: u32 = 0; quarter < 4; quarter++) {
    for (let lane: u32 = 0; lane < 4; lane++) {
      store<u32>(SELECT_BYTES + (quarter << 4) + (lane << 2), ((quarter * 4 + lane) << 24) | 0x808080);
    }
  }
  v128.store(ONES, i16x8.splat(1));
  v128.store(SIZE_BITS, i32x4.splat(0x7fff0000));
  v128.store(REBASE, i32x4.splat(0x38000000));
  v128.store(SMALLEST, f32x4.splat(0.00006103515625));
  v128.store(FINITE, i32x4.splat(0x0f7fe000));
  v128.store(UPPER_BITS, i16x8.splat(<i16>0x8fff));
}

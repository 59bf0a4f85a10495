import { FlashlmError, isBlockDtype, rowBytes, type WeightDtype } from "@flashlm/contracts";
import { halfBits, halfBitsOfFloatBits } from "./half.js";
import { dequantiseRow } from "./source-types.js";

const SOURCE_TYPE_OF: Readonly<Record<WeightDtype, string>> = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  q8_0: "Q8_0",
  q4_0: "Q4_0",
  q4_1: "Q4_1",
};

function encodeF16(source: Float32Array, target: Uint8Array): void {
  const words = new Int32Array(source.buffer, source.byteOffset, source.length);
  if (target.byteOffset % 2 === 0) {
    fillHalves(words, new Uint16Array(target.buffer, target.byteOffset, words.length));
    return;
  }
  const halves = new Uint16Array(words.length);
  fillHalves(words, halves);
  target.set(new Uint8Array(halves.buffer));
}

/** Values that stay normal numbers, as nearly all weights do, are rounded in place; the others by a call. */
function fillHalves(words: Int32Array, halves: Uint16Array): void {
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    const magnitude = word & 0x7fffffff;
    halves[index] =
      magnitude >= 0x38800000 && magnitude < 0x477ff000
        ? ((word >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
        : halfBitsOfFloatBits(word >>> 0);
  }
}

function encodeBf16(source: Float32Array, target: Uint8Array): void {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let index = 0, at = 0; index < bits.length; index++, at += 2) {
    const word = bits[index]!;
    const isNan = (word & 0x7fffffff) > 0x7f800000;
    const top = isNan ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
    target[at] = top;
    target[at + 1] = top >>> 8;
  }
}

function encodeQ8Block(source: Float32Array, target: Uint8Array): void {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 34) {
    let largest = 0;
    for (let j = 0; j < 32; j++) {
      const size = Math.abs(source[from + j]!);
      if (size > largest) largest = size;
    }
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const half = halfBits(scale);
    target[at] = half;
    target[at + 1] = half >> 8;
    for (let j = 0; j < 32; j++) {
      const scaled = Math.fround(source[from + j]! * inverse);
      // Half away from zero; the sum is exact in binary64, so truncating it rounds once.
      target[at + 2 + j] = (scaled < 0 ? scaled - 0.5 : scaled + 0.5) | 0;
    }
  }
}

function encodeQ4Block(source: Float32Array, target: Uint8Array): void {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 18) {
    let largest = 0;
    let extreme = 0;
    for (let j = 0; j < 32; j++) {
      const value = source[from + j]!;
      const size = Math.abs(value);
      if (size > largest) {
        largest = size;
        extreme = value;
      }
    }
    const scale = Math.fround(extreme / -8);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const half = halfBits(scale);
    target[at] = half;
    target[at + 1] = half >> 8;
    for (let j = 0; j < 16; j++) {
      const low = Math.fround(Math.fround(source[from + j]! * inverse) + 8.5) | 0;
      const high = Math.fround(Math.fround(source[from + j + 16]! * inverse) + 8.5) | 0;
      target[at + 2 + j] = Math.min(low, 15) | (Math.min(high, 15) << 4);
    }
  }
}

function encodeQ41Block(source: Float32Array, target: Uint8Array): void {
  for (let from = 0, at = 0; from < source.length; from += 32, at += 20) {
    let lowest = source[from]!;
    let highest = lowest;
    for (let j = 1; j < 32; j++) {
      const value = source[from + j]!;
      if (value < lowest) lowest = value;
      if (value > highest) highest = value;
    }
    const scale = Math.fround(Math.fround(highest - lowest) / 15);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const half = halfBits(scale);
    const minimum = halfBits(lowest);
    target[at] = half;
    target[at + 1] = half >> 8;
    target[at + 2] = minimum;
    target[at + 3] = minimum >> 8;
    for (let j = 0; j < 16; j++) {
      const low = Math.fround(Math.fround(Math.fround(source[from + j]! - lowest) * inverse) + 0.5) | 0;
      const high = Math.fround(Math.fround(Math.fround(source[from + j + 16]! - lowest) * inverse) + 0.5) | 0;
      target[at + 4 + j] = Math.min(low, 15) | (Math.min(high, 15) << 4);
    }
  }
}

function checkLengths(dtype: WeightDtype, elementCount: number, lengthBytes: number): void {
  const isBlocked = isBlockDtype(dtype);
  const wantedBytes = rowBytes(dtype, elementCount);
  if ((isBlocked && elementCount % 32 !== 0) || lengthBytes < wantedBytes) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${elementCount} weights as ${dtype} need ${isBlocked ? "whole blocks of 32 and " : ""}${Math.ceil(wantedBytes)} bytes; got ${lengthBytes} bytes`,
      { dtype, elementCount, lengthBytes },
    );
  }
}

/**
 * Writes one row, or several contiguous ones, of f32 weights as `dtype`: binary16 and bfloat16 to nearest
 * even with overflow to infinity, block dtypes bit for bit as ggml's reference quantisers.
 * @param source - weights; a multiple of 32 for block dtypes. Borrowed.
 * @param target - at least `rowBytes(dtype, source.length)` bytes, of any alignment; the rest is left alone.
 * @throws CHECKPOINT_SHAPE where the lengths do not fit.
 */
export function encodeRow(dtype: WeightDtype, source: Float32Array, target: Uint8Array): void {
  checkLengths(dtype, source.length, target.length);
  switch (dtype) {
    case "f32":
      target.set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
      return;
    case "f16":
      encodeF16(source, target);
      return;
    case "bf16":
      encodeBf16(source, target);
      return;
    case "q8_0":
      encodeQ8Block(source, target);
      return;
    case "q4_0":
      encodeQ4Block(source, target);
      return;
    case "q4_1":
      encodeQ41Block(source, target);
  }
}

/**
 * Reads back what {@link encodeRow} wrote.
 * @param bytes - at least `rowBytes(dtype, target.length)` bytes. Borrowed.
 * @param target - filled; a multiple of 32 for block dtypes.
 * @throws CHECKPOINT_SHAPE where the lengths do not fit.
 */
export function decodeRow(dtype: WeightDtype, bytes: Uint8Array, target: Float32Array): void {
  checkLengths(dtype, target.length, bytes.length);
  dequantiseRow(SOURCE_TYPE_OF[dtype], bytes, target);
}

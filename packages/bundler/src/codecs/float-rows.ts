import { HALF_VALUES } from "./half.js";

/** Copies little-endian binary32 numbers into `target`, which it fills; `bytes` may have any alignment. */
export function dequantiseF32(bytes: Uint8Array, target: Float32Array): void {
  const view = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
  view.set(bytes.subarray(0, target.byteLength));
}

/** Widens little-endian binary16 numbers into `target`, which it fills. */
export function dequantiseF16(bytes: Uint8Array, target: Float32Array): void {
  const half = HALF_VALUES;
  for (let index = 0, at = 0; index < target.length; index++, at += 2) {
    target[index] = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
  }
}

/** Widens little-endian bfloat16 numbers into `target`, which it fills. */
export function dequantiseBf16(bytes: Uint8Array, target: Float32Array): void {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let index = 0, at = 0; index < bits.length; index++, at += 2) {
    bits[index] = (bytes[at]! << 16) | (bytes[at + 1]! << 24);
  }
}

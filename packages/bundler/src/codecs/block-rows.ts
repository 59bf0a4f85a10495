import { HALF_VALUES } from "./half.js";

// Products of a binary16 scale and the small integers below are exact in binary64, and one rounding on
// the store into the Float32Array gives what single-precision arithmetic gives.

/** Q8_0: blocks of 32 in 34 bytes (binary16 scale, 32 signed bytes). Fills `target`. */
export function dequantiseQ8Block(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 34) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let j = 0; j < 32; j++) target[out + j] = ((bytes[at + 2 + j]! << 24) >> 24) * scale;
  }
}

/** Q4_0: blocks of 32 in 18 bytes (binary16 scale, 16 bytes of nibbles, low nibbles first). Fills `target`. */
export function dequantiseQ4Block(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 18) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      target[out + j] = ((pair & 15) - 8) * scale;
      target[out + j + 16] = ((pair >> 4) - 8) * scale;
    }
  }
}

/** Q4_1: blocks of 32 in 20 bytes (binary16 scale and minimum, 16 bytes of nibbles). Fills `target`. */
export function dequantiseQ4BlockWithMinimum(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 20) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const minimum = HALF_VALUES[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 4 + j]!;
      target[out + j] = (pair & 15) * scale + minimum;
      target[out + j + 16] = (pair >> 4) * scale + minimum;
    }
  }
}

/** Q5_0: blocks of 32 in 22 bytes (binary16 scale, 32 high bits, 16 bytes of nibbles). Fills `target`. */
export function dequantiseQ5Block(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 22) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const lowHigh = bytes[at + 2]! | (bytes[at + 3]! << 8);
    const highHigh = bytes[at + 4]! | (bytes[at + 5]! << 8);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 6 + j]!;
      target[out + j] = (((pair & 15) | (((lowHigh >> j) & 1) << 4)) - 16) * scale;
      target[out + j + 16] = (((pair >> 4) | (((highHigh >> j) & 1) << 4)) - 16) * scale;
    }
  }
}

/** Q5_1: blocks of 32 in 24 bytes (binary16 scale and minimum, 32 high bits, nibbles). Fills `target`. */
export function dequantiseQ5BlockWithMinimum(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 24) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const minimum = HALF_VALUES[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    const lowHigh = bytes[at + 4]! | (bytes[at + 5]! << 8);
    const highHigh = bytes[at + 6]! | (bytes[at + 7]! << 8);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 8 + j]!;
      target[out + j] = ((pair & 15) | (((lowHigh >> j) & 1) << 4)) * scale + minimum;
      target[out + j + 16] = ((pair >> 4) | (((highHigh >> j) & 1) << 4)) * scale + minimum;
    }
  }
}

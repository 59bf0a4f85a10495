import { HALF_VALUES } from "./half.js";

/** Q2_K: blocks of 256 in 84 bytes (16 nibble pairs of scale and minimum, 2-bit weights, scale, minimum). Fills `target`. */
export function dequantiseQ2Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 84) {
    const superScale = HALF_VALUES[bytes[at + 80]! | (bytes[at + 81]! << 8)]!;
    const superMinimum = HALF_VALUES[bytes[at + 82]! | (bytes[at + 83]! << 8)]!;
    for (let group = 0; group < 16; group++) {
      const packed = bytes[at + group]!;
      const scale = superScale * (packed & 15);
      const minimum = superMinimum * (packed >> 4);
      const shift = group & 6;
      const from = at + 16 + (group >> 3) * 32 + (group & 1) * 16;
      const to = out + group * 16;
      for (let l = 0; l < 16; l++) target[to + l] = scale * ((bytes[from + l]! >> shift) & 3) - minimum;
    }
  }
}

/** Q3_K: blocks of 256 in 110 bytes (high bits, 2-bit weights, sixteen 6-bit scales, scale). Fills `target`. */
export function dequantiseQ3Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 110) {
    const superScale = HALF_VALUES[bytes[at + 108]! | (bytes[at + 109]! << 8)]!;
    const scales = at + 96;
    for (let group = 0; group < 16; group++) {
      const low = group < 8 ? bytes[scales + group]! & 15 : bytes[scales + group - 8]! >> 4;
      const high = (bytes[scales + 8 + (group & 3)]! >> (2 * (group >> 2))) & 3;
      const scale = superScale * ((low | (high << 4)) - 32);
      const shift = group & 6;
      const highBit = group >> 1;
      const half = (group & 1) * 16;
      const from = at + 32 + (group >> 3) * 32 + half;
      const highFrom = at + half;
      const to = out + group * 16;
      for (let l = 0; l < 16; l++) {
        const weight = ((bytes[from + l]! >> shift) & 3) | (((bytes[highFrom + l]! >> highBit) & 1) << 2);
        target[to + l] = scale * (weight - 4);
      }
    }
  }
}

/** The 6-bit scale (low byte) and minimum (high byte) of group `group` of a Q4_K or Q5_K block. */
function scaleAndMinimum(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return (bytes[at + group]! & 63) | ((bytes[at + group + 4]! & 63) << 8);
  const packed = bytes[at + group + 4]!;
  const scale = (packed & 15) | ((bytes[at + group - 4]! >> 6) << 4);
  const minimum = (packed >> 4) | ((bytes[at + group]! >> 6) << 4);
  return scale | (minimum << 8);
}

/** Q4_K: blocks of 256 in 144 bytes (scale, minimum, eight 6-bit pairs of them, nibbles). Fills `target`. */
export function dequantiseQ4Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 144) {
    const superScale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const superMinimum = HALF_VALUES[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const both = scaleAndMinimum(bytes, at + 4, group);
      const scale = superScale * (both & 255);
      const minimum = superMinimum * (both >> 8);
      const shift = (group & 1) * 4;
      const from = at + 16 + (group >> 1) * 32;
      const to = out + group * 32;
      for (let l = 0; l < 32; l++) target[to + l] = scale * ((bytes[from + l]! >> shift) & 15) - minimum;
    }
  }
}

/** Q5_K: blocks of 256 in 176 bytes (as Q4_K, with 32 bytes of high bits before the nibbles). Fills `target`. */
export function dequantiseQ5Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 176) {
    const superScale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const superMinimum = HALF_VALUES[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const both = scaleAndMinimum(bytes, at + 4, group);
      const scale = superScale * (both & 255);
      const minimum = superMinimum * (both >> 8);
      const shift = (group & 1) * 4;
      const from = at + 48 + (group >> 1) * 32;
      const highFrom = at + 16;
      const to = out + group * 32;
      for (let l = 0; l < 32; l++) {
        const weight = ((bytes[from + l]! >> shift) & 15) | (((bytes[highFrom + l]! >> group) & 1) << 4);
        target[to + l] = scale * weight - minimum;
      }
    }
  }
}

/** Q6_K: blocks of 256 in 210 bytes (low nibbles, high bit pairs, sixteen signed scales, scale). Fills `target`. */
export function dequantiseQ6Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 210) {
    const superScale = HALF_VALUES[bytes[at + 208]! | (bytes[at + 209]! << 8)]!;
    for (let group = 0; group < 16; group++) {
      const scale = superScale * ((bytes[at + 192 + group]! << 24) >> 24);
      const inHalf = group & 7;
      const from = at + (group >> 3) * 64 + (inHalf & 3) * 16;
      const shift = (inHalf >> 2) * 4;
      const highFrom = at + 128 + (group >> 3) * 32 + (inHalf & 1) * 16;
      const highShift = inHalf & 6;
      const to = out + group * 16;
      for (let l = 0; l < 16; l++) {
        const high = (bytes[highFrom + l]! >> highShift) & 3;
        target[to + l] = scale * ((((bytes[from + l]! >> shift) & 15) | (high << 4)) - 32);
      }
    }
  }
}

import { HALF_VALUES } from "./half.js";

/** The sixteen levels that the nibbles of IQ4_NL and IQ4_XS stand for. */
const LEVELS: Int8Array = Int8Array.of(
  -127,
  -104,
  -83,
  -65,
  -49,
  -35,
  -22,
  -10,
  1,
  13,
  25,
  38,
  53,
  69,
  89,
  113,
);

/** IQ4_NL: blocks of 32 in 18 bytes (binary16 scale, 16 bytes of level indices). Fills `target`. */
export function dequantiseIq4Block(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 32, at += 18) {
    const scale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      target[out + j] = LEVELS[pair & 15]! * scale;
      target[out + j + 16] = LEVELS[pair >> 4]! * scale;
    }
  }
}

/** IQ4_XS: blocks of 256 in 136 bytes (binary16 scale, eight 6-bit scales, level indices). Fills `target`. */
export function dequantiseIq4Super(bytes: Uint8Array, target: Float32Array): void {
  for (let out = 0, at = 0; out < target.length; out += 256, at += 136) {
    const superScale = HALF_VALUES[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const scalesHigh = bytes[at + 2]! | (bytes[at + 3]! << 8);
    for (let block = 0; block < 8; block++) {
      const low = (bytes[at + 4 + (block >> 1)]! >> (4 * (block & 1))) & 15;
      const scale = superScale * ((low | (((scalesHigh >> (2 * block)) & 3) << 4)) - 32);
      const from = at + 8 + block * 16;
      const to = out + block * 32;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[from + j]!;
        target[to + j] = scale * LEVELS[pair & 15]!;
        target[to + j + 16] = scale * LEVELS[pair >> 4]!;
      }
    }
  }
}

import { generatorState } from "./random.js";

/** Elements of a block of q8_0, and its bytes: a binary16 scale and 32 signed bytes. */
export const BLOCK_ELEMENTS = 32;
export const BLOCK_BYTES = 34;

/** Fills `target` with 16-bit entries of `table`, two per random word. Unrolled: the four words of the state take turns as the newest. */
export function fillPairs(table: Uint16Array, seed: number, target: Uint8Array): void {
  const words = new Int32Array(target.buffer, target.byteOffset, target.byteLength >>> 2);
  let [x, y, z, w] = generatorState(seed);
  const whole = words.length - (words.length % 4);
  for (let index = 0; index < whole; index += 4) {
    let mixed = x ^ (x << 11);
    x = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = y ^ (y << 11);
    y = x ^ (x >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = z ^ (z << 11);
    z = y ^ (y >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = w ^ (w << 11);
    w = z ^ (z >>> 19) ^ mixed ^ (mixed >>> 8);
    words[index] = table[x & 0xffff]! | (table[x >>> 16]! << 16);
    words[index + 1] = table[y & 0xffff]! | (table[y >>> 16]! << 16);
    words[index + 2] = table[z & 0xffff]! | (table[z >>> 16]! << 16);
    words[index + 3] = table[w & 0xffff]! | (table[w >>> 16]! << 16);
  }
  for (let index = whole; index < words.length; index++) {
    const mixed = x ^ (x << 11);
    x = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    words[index] = table[x & 0xffff]! | (table[x >>> 16]! << 16);
    w = x;
  }
}

/** Fills `target` with f32 entries of `table`, two per random word. */
export function fillWords(table: Float32Array, seed: number, target: Uint8Array): void {
  const floats = new Float32Array(target.buffer, target.byteOffset, target.byteLength >>> 2);
  let [x, y, z, w] = generatorState(seed);
  for (let index = 0; index < floats.length; index += 2) {
    const mixed = x ^ (x << 11);
    x = y;
    y = z;
    z = w;
    w = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    floats[index] = table[w & 0xffff]!;
    if (index + 1 < floats.length) floats[index + 1] = table[w >>> 16]!;
  }
}

/** Fills `target` with q8_0 blocks of one scale. */
export function fillBlocks(table: Int8Array, scaleBits: number, seed: number, target: Uint8Array): void {
  let [x, y, z, w] = generatorState(seed);
  for (let at = 0; at < target.length; at += BLOCK_BYTES) {
    target[at] = scaleBits;
    target[at + 1] = scaleBits >>> 8;
    for (let index = at + 2; index < at + BLOCK_BYTES; index += 2) {
      const mixed = x ^ (x << 11);
      x = y;
      y = z;
      z = w;
      w = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
      target[index] = table[w & 0xffff]!;
      target[index + 1] = table[w >>> 16]!;
    }
  }
}

/**
 * Fills `values` with f32 entries of `table`, two per random word as {@link fillWords} has them, each with the `first` and
 * `others` of its place added. Unrolled as {@link fillPairs} is.
 */
export function fillSums(
  table: Float32Array,
  seed: number,
  first: Float64Array,
  others: Float64Array,
  values: Float32Array,
): void {
  let [x, y, z, w] = generatorState(seed);
  let index = 0;
  for (const whole = values.length - (values.length % 8); index < whole; index += 8) {
    let mixed = x ^ (x << 11);
    x = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = y ^ (y << 11);
    y = x ^ (x >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = z ^ (z << 11);
    z = y ^ (y >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = w ^ (w << 11);
    w = z ^ (z >>> 19) ^ mixed ^ (mixed >>> 8);
    values[index] = table[x & 0xffff]! + (first[index]! + others[index]!);
    values[index + 1] = table[x >>> 16]! + (first[index + 1]! + others[index + 1]!);
    values[index + 2] = table[y & 0xffff]! + (first[index + 2]! + others[index + 2]!);
    values[index + 3] = table[y >>> 16]! + (first[index + 3]! + others[index + 3]!);
    values[index + 4] = table[z & 0xffff]! + (first[index + 4]! + others[index + 4]!);
    values[index + 5] = table[z >>> 16]! + (first[index + 5]! + others[index + 5]!);
    values[index + 6] = table[w & 0xffff]! + (first[index + 6]! + others[index + 6]!);
    values[index + 7] = table[w >>> 16]! + (first[index + 7]! + others[index + 7]!);
  }
  for (; index < values.length; index++) {
    const mixed = x ^ (x << 11);
    const word = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    values[index] = table[index % 2 === 0 ? word & 0xffff : word >>> 16]! + (first[index]! + others[index]!);
    if (index % 2 === 0) continue;
    [x, y, z, w] = [y, z, w, word];
  }
}

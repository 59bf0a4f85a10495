import { closeSync, existsSync, fsyncSync, openSync, statSync, writeSync } from "node:fs";

/** Writes `path` with `sizeBytes` of pseudo-random bytes, through to the device; keeps a file of that size. */
export function ensureDataFile(path, sizeBytes) {
  if (existsSync(path) && statSync(path).size === sizeBytes) return;
  const block = new Uint32Array(1024 * 1024);
  const file = openSync(path, "w");
  let state = 1;
  for (let written = 0; written < sizeBytes; written += block.byteLength) {
    for (let word = 0; word < block.length; word++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      block[word] = state;
    }
    writeSync(file, new Uint8Array(block.buffer), 0, Math.min(block.byteLength, sizeBytes - written));
  }
  // Written pages leave the cache's way only once they are on the device.
  fsyncSync(file);
  closeSync(file);
}

/** Middle of the values, which it sorts. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A generator of numbers from 0 to 1 by seed. */
export function createRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

import type { WeightDtype } from "@flashlm/contracts";
import type { Views } from "./views.js";

const BLOCK_WEIGHTS = 32;
const bits = new DataView(new ArrayBuffer(4));

function floatBits(value: number): number {
  bits.setFloat32(0, value);
  return bits.getUint32(0);
}

/** The f16 nearest to an f32, ties to even; overflow becomes infinity. */
export function toHalf(value: number): number {
  const sign = floatBits(value) >>> 31 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Steps of the binade, never finer than those of subnormals; the quotient is exact in f64.
  const exponent = Math.max(-14, ((floatBits(size) >>> 23) & 255) - 127);
  const steps = nearestEven(size / 2 ** (exponent - 10));
  return sign | (steps + (exponent + 14) * 1024);
}

function nearestEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

function toBrain(value: number): number {
  const word = floatBits(value);
  if (Number.isNaN(value)) return (word >>> 16) | 0x40;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}

/** Inverse of a block's scale as ggml computes it. */
function inverseOf(scale: number): number {
  return scale === 0 ? 0 : Math.fround(1 / scale);
}

function encodeBytes(views: Views, block: Float32Array, target: number): void {
  const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const scale = Math.fround(largest / 127);
  const inverse = inverseOf(scale);
  views.halves[target / 2] = toHalf(scale);
  block.forEach((value, i) => {
    const scaled = Math.fround(value * inverse);
    views.signedBytes[target + 2 + i] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5);
  });
}

function storeNibbles(views: Views, target: number, numberAt: (index: number) => number): void {
  for (let i = 0; i < BLOCK_WEIGHTS / 2; i++) {
    const [low, high] = [numberAt(i), numberAt(i + 16)].map((value) => Math.min(15, Math.trunc(value)));
    views.bytes[target + i] = low! | (high! << 4);
  }
}

function encodeSignedNibbles(views: Views, block: Float32Array, target: number): void {
  const extreme = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const scale = Math.fround(extreme / -8);
  const inverse = inverseOf(scale);
  views.halves[target / 2] = toHalf(scale);
  storeNibbles(views, target + 2, (i) => Math.fround(Math.fround(block[i]! * inverse) + 8.5));
}

function encodeOffsetNibbles(views: Views, block: Float32Array, target: number): void {
  const lowest = block.reduce((a, b) => Math.min(a, b));
  const highest = block.reduce((a, b) => Math.max(a, b));
  const scale = Math.fround(Math.fround(highest - lowest) / 15);
  const inverse = inverseOf(scale);
  views.halves[target / 2] = toHalf(scale);
  views.halves[target / 2 + 1] = toHalf(lowest);
  storeNibbles(views, target + 4, (i) =>
    Math.fround(Math.fround(Math.fround(block[i]! - lowest) * inverse) + 0.5),
  );
}

const BLOCKS = {
  q8_0: { encode: encodeBytes, lengthBytes: 34 },
  q4_0: { encode: encodeSignedNibbles, lengthBytes: 18 },
  q4_1: { encode: encodeOffsetNibbles, lengthBytes: 20 },
} as const;

/**
 * Writes f32 as a row of `dtype` at `target` (bytes): f16 and bf16 to nearest even, blocks as ggml's reference
 * quantisers do. The source may be a view of the same memory.
 */
export function encodeRow(views: Views, dtype: WeightDtype, source: Float32Array, target: number): void {
  if (dtype === "f32") {
    views.floats.set(source, target / 4);
  } else if (dtype === "f16" || dtype === "bf16") {
    const encode = dtype === "f16" ? toHalf : toBrain;
    source.forEach((value, i) => {
      views.halves[target / 2 + i] = encode(value);
    });
  } else {
    const { encode, lengthBytes } = BLOCKS[dtype];
    for (let i = 0; i < source.length / BLOCK_WEIGHTS; i++) {
      const block = source.subarray(i * BLOCK_WEIGHTS, (i + 1) * BLOCK_WEIGHTS);
      encode(views, block, target + i * lengthBytes);
    }
  }
}

import type { WeightDtype } from "../src/index.js";

/** The number that f16 bits stand for. */
export function oracleHalfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const size = exponent === 0 ? (bits & 1023) / 2 ** 24 : (1024 + (bits & 1023)) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** f16 bits nearest to a number, ties to the even one: the two neighbours are found by search and compared. */
export function oracleHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  // The binade above the largest finite number decides what becomes infinity.
  let [low, high] = [0, 0x7c00];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (oracleHalfValue(middle) <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - oracleHalfValue(low), oracleHalfValue(high) - size];
  const nearer = below < above ? low : above < below ? high : low % 2 === 0 ? low : high;
  return sign | nearer;
}

const ROUND = Math.fround;

/** Writes a block of 32 as ggml's reference quantisers define it. */
function oracleBlock(dtype: "q8_0" | "q4_0" | "q4_1", block: Float64Array): number[] {
  const half = (value: number): number[] => [oracleHalf(value) & 255, oracleHalf(value) >> 8];
  const scaleOf = (range: number, steps: number): readonly [scale: number, inverse: number] => {
    const scale = ROUND(ROUND(range) / steps);
    return [scale, scale === 0 ? 0 : ROUND(1 / scale)];
  };
  const pairs = (levels: Float64Array): number[] =>
    Array.from({ length: 16 }, (_, i) => levels[i]! + 16 * levels[i + 16]!);
  const sizes = block.map(Math.abs);
  const largest = Math.max(...sizes);
  if (dtype === "q8_0") {
    const [scale, inverse] = scaleOf(largest, 127);
    // Half away from zero.
    const numbers = [...block].map((value) => {
      const scaled = ROUND(value * inverse);
      return Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5);
    });
    return [...half(scale), ...numbers.map((number) => number & 255)];
  }
  if (dtype === "q4_0") {
    const [scale, inverse] = scaleOf(block[sizes.indexOf(largest)]!, -8);
    const levels = block.map((value) => Math.min(15, Math.trunc(ROUND(ROUND(value * inverse) + 8.5))));
    return [...half(scale), ...pairs(levels)];
  }
  const lowest = Math.min(...block);
  const [scale, inverse] = scaleOf(Math.max(...block) - lowest, 15);
  const levels = block.map((value) =>
    Math.min(15, Math.trunc(ROUND(ROUND(ROUND(value - lowest) * inverse) + 0.5))),
  );
  return [...half(scale), ...half(lowest), ...pairs(levels)];
}

/** bf16 bits nearest to a f32, ties to even, by comparing the two neighbours. */
function oracleBrain(value: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const low = view.getUint16(0);
  const at = (bits: number): number => {
    view.setUint32(0, bits * 65536);
    return view.getFloat32(0);
  };
  const [below, above] = [Math.abs(value - at(low)), Math.abs(at(low + 1) - value)];
  return below < above || (below === above && low % 2 === 0) ? low : low + 1;
}

/** Bytes of finite f32 values as `dtype`. */
export function oracleRow(dtype: WeightDtype, values: Float64Array): Uint8Array {
  if (dtype === "f32") return new Uint8Array(Float32Array.from(values).buffer);
  if (dtype === "f16") return new Uint8Array(Uint16Array.from(values, oracleHalf).buffer);
  if (dtype === "bf16") return new Uint8Array(Uint16Array.from(values, oracleBrain).buffer);
  const blocks = Array.from({ length: values.length / 32 }, (_, i) => values.subarray(i * 32, i * 32 + 32));
  return Uint8Array.from(blocks.flatMap((block) => oracleBlock(dtype, block)));
}

/** Values that dots of precision "q8" see in place of a source, as the contract defines them; per token, in blocks of 32. */
export function oracleRounded(values: Float64Array): Float64Array {
  const rounded = new Float64Array(values.length);
  for (let first = 0; first < values.length; first += 32) {
    const block = values.subarray(first, first + 32);
    const scale = ROUND(Math.max(...block.map(Math.abs)) / 127);
    block.forEach((value, i) => {
      const scaled = scale === 0 ? 0 : ROUND(value * ROUND(1 / scale));
      const low = Math.floor(scaled);
      const isUp = scaled - low > 0.5 || (scaled - low === 0.5 && low % 2 !== 0);
      rounded[first + i] = scale * Math.max(-127, Math.min(127, isUp ? low + 1 : low));
    });
  }
  return rounded;
}

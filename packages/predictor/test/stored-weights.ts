import type { WeightDtype } from "@flashlm/contracts";

function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 1023;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** The half float next to a number that is not negative; finite ones ascend with their bits. */
function nearestHalf(value: number): number {
  let [low, high] = [0, 0x7bff];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfToFloat(middle) <= value) low = middle;
    else high = middle;
  }
  return value - halfToFloat(low) <= halfToFloat(high) - value ? low : high;
}

/** Half floats in float64, from their definition. */
export function halvesToFloats(bytes: Uint8Array): Float32Array {
  return Float32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2), halfToFloat);
}

/** Numbers of a head's matrix, from the definitions of its dtype. */
export function storedToFloats(dtype: WeightDtype, bytes: Uint8Array): Float32Array {
  if (dtype === "f16") return halvesToFloats(bytes);
  if (dtype !== "q8_0") throw new Error(`heads are not stored in ${dtype}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: (bytes.length / 34) * 32 }, (_, index) => {
    const block = Math.floor(index / 32) * 34;
    return halfToFloat(view.getUint16(block, true)) * view.getInt8(block + 2 + (index % 32));
  });
}

/** Writes numbers as q8_0: each block of 32 is scaled by its largest. */
export function floatsToBlocks(values: Float32Array, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let begin = 0, at = 0; begin < values.length; begin += 32, at += 34) {
    const block = values.subarray(begin, begin + 32);
    const scale = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
    view.setUint16(at, nearestHalf(scale), true);
    for (const [index, value] of block.entries())
      view.setInt8(at + 2 + index, scale === 0 ? 0 : Math.round(value / scale));
  }
}

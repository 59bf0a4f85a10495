import type { WeightDtype } from "@flashlm/contracts";
import type { Views } from "./views.js";

/** Weights of a block and bytes of its scale. */
const BLOCK_WEIGHTS = 32;
const SCALE_BYTES = 2;

/** f16 bits to a number. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

const widened = new Float32Array(1);
const widenedBits = new Uint32Array(widened.buffer);

function fromBrain(bits: number): number {
  widenedBits[0] = bits << 16;
  return widened[0]!;
}

/** Weight `index` of a row that begins at `offsetBytes`, as a number. */
export function weightAt(views: Views, dtype: WeightDtype, offsetBytes: number, index: number): number {
  switch (dtype) {
    case "f32":
      return views.floats[offsetBytes / 4 + index]!;
    case "f16":
      return fromHalf(views.halves[offsetBytes / 2 + index]!);
    case "bf16":
      return fromBrain(views.halves[offsetBytes / 2 + index]!);
    case "q8_0": {
      const block = offsetBytes + Math.floor(index / BLOCK_WEIGHTS) * 34;
      const scale = fromHalf(views.halves[block / 2]!);
      return scale * views.signedBytes[block + SCALE_BYTES + (index % BLOCK_WEIGHTS)]!;
    }
    case "q4_0": {
      const block = offsetBytes + Math.floor(index / BLOCK_WEIGHTS) * 18;
      const scale = fromHalf(views.halves[block / 2]!);
      const byte = views.bytes[block + SCALE_BYTES + (index % 16)]!;
      return scale * ((index % BLOCK_WEIGHTS < 16 ? byte & 15 : byte >> 4) - 8);
    }
    case "q4_1": {
      const block = offsetBytes + Math.floor(index / BLOCK_WEIGHTS) * 20;
      const scale = fromHalf(views.halves[block / 2]!);
      const minimum = fromHalf(views.halves[block / 2 + 1]!);
      const byte = views.bytes[block + 2 * SCALE_BYTES + (index % 16)]!;
      return scale * (index % BLOCK_WEIGHTS < 16 ? byte & 15 : byte >> 4) + minimum;
    }
  }
}

/** Dot product of a row of weights with f32 at `source` (an index of f32), summed in f64. */
export function dot(
  views: Views,
  dtype: WeightDtype,
  offsetBytes: number,
  source: number,
  columnCount: number,
): number {
  let sum = 0;
  for (let column = 0; column < columnCount; column++) {
    sum += weightAt(views, dtype, offsetBytes, column) * views.floats[source + column]!;
  }
  return sum;
}

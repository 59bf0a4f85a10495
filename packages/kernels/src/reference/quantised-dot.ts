import type { DotPrecision, WeightDtype } from "@flashlm/contracts";
import { isBlockDtype } from "@flashlm/contracts";
import type { Views } from "./views.js";
import { dot, weightAt } from "./weights.js";

const BLOCK_WEIGHTS = 32;

/** What one token's source becomes for dots of precision "q8": values d * q of each block of 32. */
export function roundedSource(views: Views, source: number, count: number): Float64Array {
  const rounded = new Float64Array(count);
  for (let first = 0; first < count; first += BLOCK_WEIGHTS) {
    const block = views.floats.subarray(source + first, source + first + BLOCK_WEIGHTS);
    const scale = Math.fround(block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    block.forEach((value, i) => {
      const number = scale === 0 ? 0 : nearestEven(Math.fround(value * inverse));
      rounded[first + i] = scale * Math.max(-127, Math.min(127, number));
    });
  }
  return rounded;
}

function nearestEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** A dot of a row at `offsetBytes` with the source that was given. */
export type DotFunction = (dtype: WeightDtype, offsetBytes: number) => number;

/** Dots of one token's source (an index of f32) in the precision of an op; the source is rounded once, when first needed. */
export function dotsOf(
  views: Views,
  precision: DotPrecision | undefined,
  source: number,
  count: number,
): DotFunction {
  let rounded: Float64Array | undefined;
  return (dtype, offsetBytes) => {
    if (precision !== "q8" || !isBlockDtype(dtype)) return dot(views, dtype, offsetBytes, source, count);
    rounded ??= roundedSource(views, source, count);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += weightAt(views, dtype, offsetBytes, i) * rounded[i]!;
    return sum;
  };
}

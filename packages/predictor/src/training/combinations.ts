import { symmetricEigen } from "./symmetric-eigen.js";

/** Directions whose variance is a smaller share of the largest are rounding of f32. */
const VARIANCE_SHARE_MIN = 1e-6;
/** Directions that vary less would need weights beyond the largest half float, 65504, to vary by 1. */
const VARIANCE_MIN = 65504 ** -2;

/**
 * Combinations of `count` vectors that are orthonormal in a metric and have most weight, best first: rows r with r N rᵀ = 1 and the largest r Q rᵀ, f64 `[rank, count]`.
 * `weights` Q and `metric` N are symmetric, `[count, count]`. Rows beyond the directions that the metric tells apart are 0.
 */
export function bestCombinations(
  weights: ArrayLike<number>,
  metric: ArrayLike<number>,
  count: number,
  rank: number,
): Float64Array {
  const { values, vectors } = symmetricEigen(metric, count);
  const least = Math.max(VARIANCE_MIN, VARIANCE_SHARE_MIN * Math.max(...values));
  const whitening = new Float64Array(count * count);
  for (let row = 0; row < count; row++) {
    const scale = values[row]! > least ? 1 / Math.sqrt(values[row]!) : 0;
    for (let k = 0; k < count; k++) whitening[row * count + k] = vectors[row * count + k]! * scale;
  }
  const halved = products(whitening, weights, count);
  const whitened = symmetricEigen(products(whitening, halved, count), count);
  const order = Array.from(whitened.values.keys()).sort((x, y) => whitened.values[y]! - whitened.values[x]!);
  const result = new Float64Array(rank * count);
  for (let index = 0; index < Math.min(rank, count); index++) {
    const from = order[index]! * count;
    for (let row = 0; row < count; row++) {
      const factor = whitened.vectors[from + row]!;
      for (let k = 0; k < count; k++) result[index * count + k]! += factor * whitening[row * count + k]!;
    }
  }
  return result;
}

/** Products of all rows of two matrices `[count, count]`: x yᵀ. */
function products(x: ArrayLike<number>, y: ArrayLike<number>, count: number): Float64Array {
  const result = new Float64Array(count * count);
  for (let row = 0; row < count; row++)
    for (let column = 0; column < count; column++) {
      let sum = 0;
      for (let k = 0; k < count; k++) sum += x[row * count + k]! * y[column * count + k]!;
      result[row * count + column] = sum;
    }
  return result;
}

/** Distance at which the tails are treated as zero. */
const LIMIT = 9;

/** Density of the standard normal distribution. */
export function normalDensity(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/** Probability that a standard normal variable is above `x`, within 1e-12: a series near zero, a continued fraction further out. */
export function normalUpperTail(x: number): number {
  if (x < 0) return 1 - normalUpperTail(-x);
  if (x > LIMIT) return 0;
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let order = 1; order < 200 && Math.abs(term) > 1e-16; order++) {
      term *= (x * x) / (2 * order + 1);
      sum += term;
    }
    return 0.5 - normalDensity(x) * sum;
  }
  let fraction = x;
  for (let order = 60; order > 0; order--) fraction = x + order / fraction;
  return normalDensity(x) / fraction;
}

/** The `x` that a standard normal variable exceeds with a probability of `share`, 0 < share < 1. */
export function normalUpperQuantile(share: number): number {
  let low = -LIMIT;
  let high = LIMIT;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (normalUpperTail(middle) > share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** {@link normalUpperQuantile} of many shares in order, by Newton's method, each from the one before: neighbours differ little. */
export function normalUpperQuantiles(shares: Float64Array): Float64Array {
  let value = normalUpperQuantile(shares[0]!);
  return shares.map((share) => {
    for (let step = 0; step < 60; step++) {
      const excess = normalUpperTail(value) - share;
      // Where the density is small a whole step would leave the range for good.
      value += Math.max(-0.5, Math.min(0.5, excess / normalDensity(value)));
      if (Math.abs(excess) < 1e-9 * share) break;
    }
    return value;
  });
}

/** Moments of an activation of `n - threshold`, where n is standard normal. */
export interface ActivationMoments {
  readonly mean: number;
  readonly meanSquare: number;
}

/** ReLU of a shifted normal variable, or its square (`relu2`). */
export function rectifiedMoments(threshold: number, activation: "relu" | "relu2"): ActivationMoments {
  const tail = normalUpperTail(threshold);
  const density = normalDensity(threshold);
  const second = (1 + threshold ** 2) * tail - threshold * density;
  if (activation === "relu") return { mean: density - threshold * tail, meanSquare: second };
  const fourth =
    (threshold ** 4 + 6 * threshold ** 2 + 3) * tail - (threshold ** 3 + 5 * threshold) * density;
  return { mean: second, meanSquare: fourth };
}

/** Values per table: 16 random bits pick one. */
export const QUANTILE_COUNT = 65_536;

/** Equally likely values of a standard normal variable, ascending, scaled so that their variance is exactly 1. f32 `[65536]`. */
export function normalQuantiles(): Float32Array {
  const values = new Float64Array(QUANTILE_COUNT);
  let squares = 0;
  const upper = normalUpperQuantiles(
    Float64Array.from({ length: QUANTILE_COUNT / 2 }, (_, index) => (index + 0.5) / QUANTILE_COUNT),
  );
  for (const [index, value] of upper.entries()) {
    values[index] = -value;
    values[QUANTILE_COUNT - 1 - index] = value;
    squares += 2 * value * value;
  }
  const scale = Math.sqrt(QUANTILE_COUNT / squares);
  return Float32Array.from(values, (value) => value * scale);
}

import { normalUpperQuantiles } from "./normal-distribution.js";
import { RandomGenerator } from "./random.js";

/** The most popular neurons are active at nearly every token. */
const RATE_MAX = 0.95;

/** How often each neuron of a layer should be active: a power law of its rank with the given mean, hottest first. */
export function popularityRates(neuronCount: number, meanShare: number, exponent: number): Float64Array {
  const shape = Float64Array.from(
    { length: neuronCount },
    (_, rank) => ((rank + 0.5) / neuronCount) ** -exponent,
  );
  const mean = (scale: number): number =>
    shape.reduce((sum, value) => sum + Math.min(RATE_MAX, scale * value), 0) / neuronCount;
  let low = 0;
  let high = 1;
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    if (mean(middle) < meanShare) low = middle;
    else high = middle;
  }
  return shape.map((value) => Math.min(RATE_MAX, low * value));
}

/**
 * Thresholds of a layer's neurons in standard deviations of their pre-activation, in a random order: neuron i fires when a
 * standard normal variable is above `thresholds[i]`.
 */
export function popularityThresholds(
  neuronCount: number,
  meanShare: number,
  exponent: number,
  seed: number,
): Float64Array {
  const thresholds = normalUpperQuantiles(popularityRates(neuronCount, meanShare, exponent));
  const random = new RandomGenerator(seed);
  for (let index = neuronCount - 1; index > 0; index--) {
    const other = random.below(index + 1);
    const kept = thresholds[index]!;
    thresholds[index] = thresholds[other]!;
    thresholds[other] = kept;
  }
  return thresholds;
}

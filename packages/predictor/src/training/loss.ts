import type { HeadSamples } from "./head-samples.js";

/** A weight may be at most this many times the mean one: a handful of giant contributions must not be all that is learned. */
const WEIGHT_MAX = 30;

/** Weights of the balanced loss. */
export interface LossWeights {
  /** Of an active neuron by its contribution code, `[256]`; entry 0 is not used. */
  readonly active: Float32Array;
  /** Of an inactive neuron: chosen so that both classes weigh the same over the training tokens. */
  readonly inactive: number;
  /** Per neuron: share of the training tokens it is active for, and its mean weight then, drawn towards 1. */
  readonly activeShare: Float32Array;
  readonly meanWeight: Float32Array;
}

/**
 * Weights for the balanced loss: `(contribution / mean)^power` of each active neuron (power 0 is the plain loss of the paper), scaled to a mean of
 * 1, and one weight for all inactive ones.
 */
export function lossWeights(samples: HeadSamples, power: number): LossWeights {
  const { codes, neuronCount, training, contributionOfCode } = samples;
  const histogram = new Float64Array(256);
  const activeCounts = new Float64Array(neuronCount);
  for (const token of training) {
    const row = token * neuronCount;
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      const code = codes[row + neuron]!;
      histogram[code]!++;
      if (code !== 0) activeCounts[neuron]!++;
    }
  }
  const active = Float32Array.from(contributionOfCode, (value) => value ** power);
  for (let pass = 0; pass < 2; pass++) {
    // Scaled, cut, and scaled again, since the cut lowers the mean.
    const mean = weightedMean(histogram, active);
    for (let code = 1; code < 256; code++) active[code] = Math.min(WEIGHT_MAX, active[code]! / mean);
  }
  const activeTotal = histogram.subarray(1).reduce((sum, count) => sum + count, 0);
  const sums = new Float64Array(neuronCount);
  for (const token of training) {
    const row = token * neuronCount;
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      const code = codes[row + neuron]!;
      if (code !== 0) sums[neuron]! += active[code]!;
    }
  }
  return {
    active,
    inactive: activeTotal / Math.max(1, histogram[0]!),
    activeShare: Float32Array.from(activeCounts, (count) => (count + 0.5) / (training.length + 1)),
    meanWeight: Float32Array.from(sums, (sum, neuron) => (sum + 4) / (activeCounts[neuron]! + 4)),
  };
}

function weightedMean(histogram: Float64Array, weights: Float32Array): number {
  let sum = 0;
  let count = 0;
  for (let code = 1; code < 256; code++) {
    sum += histogram[code]! * weights[code]!;
    count += histogram[code]!;
  }
  return count === 0 || sum === 0 ? 1 : sum / count;
}

/**
 * Turns scores (log odds) of a minibatch, f32 `[batchTokens, neuronCount]`, into the gradient of the weighted cross entropy per token, in place.
 * `tokens` are the rows' tokens. Returns the sum of the losses.
 */
export function lossGradient(
  scores: Float32Array,
  samples: HeadSamples,
  tokens: Uint32Array,
  weights: LossWeights,
): number {
  const { codes, neuronCount } = samples;
  const { active, inactive } = weights;
  const scale = 1 / tokens.length;
  let loss = 0;
  for (let index = 0; index < tokens.length; index++) {
    const codeRow = tokens[index]! * neuronCount;
    const row = index * neuronCount;
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      const score = scores[row + neuron]!;
      const odds = Math.exp(-Math.abs(score));
      const far = 1 / (1 + odds); // Probability of what the score's sign says.
      const code = codes[codeRow + neuron]!;
      const weight = code === 0 ? inactive : active[code]!;
      const agrees = code === 0 ? score < 0 : score >= 0;
      const wrong = agrees ? 1 - far : far;
      scores[row + neuron] = (code === 0 ? wrong : -wrong) * weight * scale;
      if ((neuron & 15) === 0) loss += weight * -Math.log(1 - wrong + 1e-30);
    }
  }
  return loss * 16 * scale;
}

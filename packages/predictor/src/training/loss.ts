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

/** The logistic function is interpolated between steps of 1 / 64, within 4e-6 of itself and a share of 4e-5; beyond the largest score it stays. */
const STEPS_PER_UNIT = 64;
const SCORE_MAX = 32;
const LOGISTIC = Float64Array.from(
  { length: 2 * SCORE_MAX * STEPS_PER_UNIT + 2 },
  (_, step) => 1 / (1 + Math.exp(SCORE_MAX - step / STEPS_PER_UNIT)),
);

/**
 * Turns scores (log odds) of a minibatch, f32 `[batchTokens, neuronCount]`, into the gradient of the weighted cross entropy per token, in place.
 * `tokens` are the rows' tokens.
 */
export function lossGradient(
  scores: Float32Array,
  samples: HeadSamples,
  tokens: Uint32Array,
  { active, inactive }: LossWeights,
): void {
  const { codes, neuronCount } = samples;
  const scale = 1 / tokens.length;
  for (let index = 0; index < tokens.length; index++) {
    const codeRow = tokens[index]! * neuronCount;
    const row = index * neuronCount;
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      const code = codes[codeRow + neuron]!;
      const score = scores[row + neuron]!;
      const against = code === 0 ? score : -score;
      const at = (Math.max(-SCORE_MAX, Math.min(SCORE_MAX, against)) + SCORE_MAX) * STEPS_PER_UNIT;
      const step = at | 0;
      const wrong = LOGISTIC[step]! + (at - step) * (LOGISTIC[step + 1]! - LOGISTIC[step]!);
      scores[row + neuron] = (code === 0 ? wrong * inactive : -wrong * active[code]!) * scale;
    }
  }
}

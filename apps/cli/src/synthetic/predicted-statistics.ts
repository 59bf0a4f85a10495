import { centred, columnMeans, type Matrix, rowsOf, timesTransposed } from "./matrix.js";
import { principalDirections } from "./principal-directions.js";
import { type WindowStatistics, windowStatistics } from "./window-statistics.js";

/** Rank of the paper's predictors, and one that must be too small. */
export const HEAD_RANK = 128;
export const SMALL_HEAD_RANK = 32;
/** Share of the active neurons that the larger head may miss: the paper's. */
export const MISSED_SHARE = 0.05;

/** What low-rank heads make of a layer. */
export interface PredictedStatistics {
  /** Of the neurons that the head of {@link HEAD_RANK} predicts when it misses {@link MISSED_SHARE} of the active ones. */
  readonly predicted: WindowStatistics;
  /** Predicted and not active, of those not active. */
  readonly falsePositiveShare: number;
  /** Share of the active neurons that the head of {@link SMALL_HEAD_RANK} misses when it predicts as many. */
  readonly missedBySmallHead: number;
  /** Active among the sampled neurons and measured tokens. */
  readonly activeShare: number;
}

/**
 * Fits the best linear head of a rank to a layer's inputs (their principal directions: the projection's rows have none of their own) and tries it on
 * later tokens. `weights` and `biases` are of a sample of neurons.
 */
export function predictedStatistics(
  inputs: Matrix,
  trainTokens: number,
  weights: Matrix,
  biases: Float32Array,
  windowTokens: number,
): PredictedStatistics {
  const train = rowsOf(inputs, 0, trainTokens);
  const held = rowsOf(inputs, trainTokens, inputs.rowCount);
  const means = columnMeans(train);
  const directions = principalDirections(centred(train, means), HEAD_RANK);
  const neuronCount = weights.rowCount;
  const exact = timesTransposed(held, weights).values;
  const active = exact.map((value, index) => (value + biases[index % neuronCount]! > 0 ? 1 : 0));
  const meanRow = { rowCount: 1, columnCount: means.length, values: Float32Array.from(means) };
  const constant = timesTransposed(meanRow, weights).values;
  const scoresOf = (rank: number): Float32Array => {
    const head = rowsOf(directions, 0, Math.min(rank, directions.rowCount));
    const reduced = timesTransposed(centred(held, means), head);
    const scores = timesTransposed(reduced, timesTransposed(weights, head)).values;
    return scores.map(
      (value, index) => value + constant[index % neuronCount]! + biases[index % neuronCount]!,
    );
  };
  const scores = scoresOf(HEAD_RANK);
  const margin = quantile(
    scores.filter((_, index) => active[index] === 1),
    MISSED_SHARE,
  );
  const flags = Uint8Array.from(scores, (score) => (score > margin ? 1 : 0));
  const predictedCount = count(flags);
  const small = scoresOf(SMALL_HEAD_RANK);
  const smallMargin = quantile(small, 1 - predictedCount / small.length);
  let missed = 0;
  let wrong = 0;
  const activeCount = count(active);
  for (let index = 0; index < active.length; index++) {
    if (active[index] === 1 && small[index]! <= smallMargin) missed++;
    if (active[index] === 0 && flags[index] === 1) wrong++;
  }
  return {
    predicted: windowStatistics(flags, neuronCount, windowTokens),
    falsePositiveShare: wrong / Math.max(1, active.length - activeCount),
    missedBySmallHead: missed / Math.max(1, activeCount),
    activeShare: activeCount / active.length,
  };
}

function count(flags: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < flags.length; index++) sum += flags[index]!;
  return sum;
}

/** The value that a share of `values` is at or below. */
function quantile(values: Float32Array, share: number): number {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.max(0, Math.min(sorted.length - 1, Math.floor(share * sorted.length) - 1))] ?? 0;
}

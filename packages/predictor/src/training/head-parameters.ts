import type { HeadShape, Matrix, Workspace } from "./workspace.js";

/** Rows beyond the rank that the search for the best subspace carries along: they make it converge. */
export const EXTRA_ROWS = 8;

/** Parameters of the head in training and everything that a minibatch needs, in kernel memory. */
export interface HeadParameters {
  readonly shape: HeadShape;
  /** `[rank, hiddenSize]` and its gradient. */
  readonly a: Matrix;
  readonly aGradient: Matrix;
  /** Transposed, `[rank, neuronCount]`, and its gradient. */
  readonly bTransposed: Matrix;
  readonly bGradient: Matrix;
  /** `[neuronCount, rank]`, made from the transposed one. */
  readonly b: Matrix;
  readonly bias: Matrix;
  /** FFN inputs of a minibatch, `[batchTokens, hiddenSize]`, and transposed. */
  readonly x: Matrix;
  readonly xTransposed: Matrix;
  /** `a * x` and its gradient, `[batchTokens, rank]`, and their transposes. */
  readonly low: Matrix;
  readonly lowTransposed: Matrix;
  readonly lowGradient: Matrix;
  readonly lowGradientTransposed: Matrix;
  /** Scores, then their gradient, `[batchTokens, neuronCount]`, and transposed. */
  readonly scores: Matrix;
  readonly scoresTransposed: Matrix;
}

/** Matrices of the starting point: `[hiddenSize, hiddenSize]` and `[neuronCount, hiddenSize]` ones, used for several things in turn. */
export interface StartMatrices {
  readonly covariance: Matrix;
  readonly targetCovariance: Matrix;
  readonly cross: Matrix;
  readonly square: Matrix;
  readonly weight: Matrix;
  readonly projected: Matrix;
  readonly projectedTransposed: Matrix;
  readonly subspace: Matrix;
  readonly nextSubspace: Matrix;
}

function elementCounts({
  hiddenSize,
  neuronCount,
  rank,
  batchTokens,
}: HeadShape): Record<keyof Omit<HeadParameters, "shape"> | keyof StartMatrices, number> {
  const square = hiddenSize * hiddenSize;
  const wide = neuronCount * hiddenSize;
  const searched = Math.min(hiddenSize, rank + EXTRA_ROWS) * hiddenSize;
  const a = rank * hiddenSize;
  const b = rank * neuronCount;
  const x = batchTokens * hiddenSize;
  const low = batchTokens * rank;
  // The starting point puts inputs there.
  const scores = batchTokens * Math.max(neuronCount, hiddenSize);
  return {
    a,
    aGradient: a,
    bTransposed: b,
    bGradient: b,
    b,
    bias: neuronCount,
    x,
    xTransposed: x,
    low,
    lowTransposed: low,
    lowGradient: low,
    lowGradientTransposed: low,
    scores,
    scoresTransposed: scores,
    covariance: square,
    targetCovariance: square,
    cross: square,
    square,
    weight: wide,
    projected: wide,
    projectedTransposed: wide,
    subspace: searched,
    nextSubspace: searched,
  };
}

/** Bytes of kernel memory that training heads of this shape takes. */
export function trainingBytes(shape: HeadShape): number {
  const counts = Object.values(elementCounts(shape));
  return counts.reduce((sum, count) => sum + count * 4 + 128, 1 << 16);
}

/** Allocates everything for heads of this shape. @throws KERNEL_MEMORY when the arena has less than {@link trainingBytes}. */
export function allocateHead(workspace: Workspace, shape: HeadShape): HeadParameters & StartMatrices {
  const matrices = Object.fromEntries(
    Object.entries(elementCounts(shape)).map(([name, count]) => [name, workspace.matrix(count)]),
  ) as unknown as Omit<HeadParameters, "shape"> & StartMatrices;
  return { shape, ...matrices };
}

import { HISTOGRAM_BYTES } from "./measure-head.js";
import type { HeadShape, Matrix, Workspace } from "./workspace.js";

/** Rows beyond the rank that are searched; the best are chosen among all at the end, so that neighbours of the last one settle too. */
const EXTRA_ROWS = 8;

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

/** Matrices of the starting point; what stands in those that serve several things in turn is said where it is put there. `k` is {@link searchedRows}. */
export interface StartMatrices {
  /** What is known of the head's inputs and of the targets' inputs, at most `[hiddenSize, hiddenSize]` each. */
  readonly inputs: Matrix;
  readonly inputsTransposed: Matrix;
  readonly targets: Matrix;
  readonly targetsTransposed: Matrix;
  /** Inverse of a Cholesky factor, at most `[hiddenSize, hiddenSize]`, and transposed. */
  readonly factor: Matrix;
  readonly factorTransposed: Matrix;
  /** `[neuronCount, hiddenSize]`, and transposed. */
  readonly weight: Matrix;
  readonly weightTransposed: Matrix;
  /** The vectors that are iterated, what the head reads for each, and what the weight is applied to, `[k, hiddenSize]`. */
  readonly subspace: Matrix;
  readonly directions: Matrix;
  readonly images: Matrix;
  /** Between the products of a chain, in turns with `scores`; `[k, hiddenSize]`. */
  readonly between: Matrix;
  /** `[k, k]`, and then `[rank, k]`. */
  readonly gram: Matrix;
  readonly weightedGram: Matrix;
}

/** Rows that the search for the best subspace carries along. */
export function searchedRows({ hiddenSize, rank }: HeadShape): number {
  return Math.min(hiddenSize, rank + EXTRA_ROWS);
}

function elementCounts(
  shape: HeadShape,
): Record<keyof Omit<HeadParameters, "shape"> | keyof StartMatrices, number> {
  const { hiddenSize, neuronCount, rank, batchTokens } = shape;
  const square = hiddenSize * hiddenSize;
  // The starting point also puts squares and a transposed minibatch there.
  const wide = hiddenSize * Math.max(neuronCount, hiddenSize, batchTokens);
  const searched = searchedRows(shape);
  const vectors = searched * hiddenSize;
  const a = rank * hiddenSize;
  const b = rank * neuronCount;
  const x = batchTokens * hiddenSize;
  const low = batchTokens * rank;
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
    // The starting point puts inputs and all searched rows there.
    scores: Math.max(batchTokens, searched) * Math.max(neuronCount, hiddenSize),
    scoresTransposed: batchTokens * neuronCount,
    inputs: square,
    inputsTransposed: square,
    targets: square,
    targetsTransposed: square,
    factor: square,
    factorTransposed: square,
    weight: wide,
    weightTransposed: wide,
    subspace: vectors,
    directions: vectors,
    images: vectors,
    between: vectors,
    gram: Math.max(rank, searched) * searched,
    weightedGram: searched * searched,
  };
}

/** Bytes of kernel memory that training heads of this shape takes. */
export function trainingBytes(shape: HeadShape): number {
  const counts = Object.values(elementCounts(shape));
  return counts.reduce((sum, count) => sum + count * 4 + 128, 1 << 16);
}

/** Longest row of a weight that training heads of this shape multiplies with: what their kernels' `columnCountMax` has to be. */
export function trainingColumnCount({ hiddenSize, neuronCount, rank, batchTokens }: HeadShape): number {
  return Math.max(hiddenSize, neuronCount, rank, batchTokens);
}

/**
 * Bytes that training heads of this shape takes outside kernel memory and its samples: the optimizer's moments, the matrices of the start in
 * f64, the best head so far and the next one as they are stored, and numbers per neuron and token.
 */
export function trainingHostBytes(shape: HeadShape, tokenCount: number): number {
  const { hiddenSize, neuronCount, rank } = shape;
  const parameters = rank * hiddenSize + rank * neuronCount + neuronCount;
  const moments = 2 * 4 * parameters;
  const heads = 2 * 4 * parameters;
  const small = 8 * (8 * searchedRows(shape) ** 2 + 16 * neuronCount + 8 * hiddenSize);
  return moments + heads + small + 4 * 4 * tokenCount + HISTOGRAM_BYTES;
}

/** Allocates everything for heads of this shape. @throws KERNEL_MEMORY when the arena has less than {@link trainingBytes}. */
export function allocateHead(workspace: Workspace, shape: HeadShape): HeadParameters & StartMatrices {
  const matrices = Object.fromEntries(
    Object.entries(elementCounts(shape)).map(([name, count]) => [name, workspace.matrix(count)]),
  ) as unknown as Omit<HeadParameters, "shape"> & StartMatrices;
  return { shape, ...matrices };
}

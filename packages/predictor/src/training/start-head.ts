import type { HeadParameters, StartMatrices } from "./head-parameters.js";
import { EXTRA_ROWS } from "./head-parameters.js";
import { type HeadSamples, unpackRow } from "./head-samples.js";
import { choleskyInPlace, orthonormaliseRows, solveLower, solveLowerTransposed } from "./linear-algebra.js";
import type { LossWeights } from "./loss.js";
import { transposeInto } from "./transpose.js";
import type { Matrix, Workspace } from "./workspace.js";

/** Tokens that means and covariances are taken over, at most. */
const START_TOKENS_MAX = 8192;
/** Steps of subspace iteration; what it has not settled by then, training does. */
const SUBSPACE_STEPS = 8;
/** Added to the diagonal of a covariance, as a share of its mean: directions that hardly vary must not be blown up. */
const RIDGE = 1e-3;
/** A logistic curve with this factor is within 0.01 of a normal distribution's. */
const LOGISTIC_OF_NORMAL = 1.702;

interface Moments {
  readonly mean: Float64Array;
  readonly targetMean: Float64Array;
  readonly tokenCount: number;
}

/**
 * A starting point that needs no training: whether a neuron fires is decided by `weight * targetInput + bias`, so the head begins as the best
 * low-rank linear estimate of that number from its own input (reduced-rank regression; for a head on the layer's own input a truncated
 * singular value decomposition of the weight, in the metric of the inputs), neurons weighted by what they contribute, and scaled by what it leaves
 * unexplained so that scores are log odds. Writes `a`, `bTransposed` and `bias`.
 */
export async function startHead(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
  weights: LossWeights,
): Promise<void> {
  const { hiddenSize: d, neuronCount: n } = head.shape;
  const moments = await measureMoments(workspace, head, samples);
  const own = samples.targetInputs === samples.inputs;
  const lower = centred(head.covariance, moments.mean, moments.mean, moments.tokenCount, d);
  choleskyInPlace(ridged(lower, d), d, 1e-9);
  projectInto(
    head,
    own ? null : centred(head.cross, moments.targetMean, moments.mean, moments.tokenCount, d),
    lower,
  );
  head.weight.floats.set(samples.weight);
  const wide = { columnCount: d, source: head.weight.handle, tokenCount: n };
  await workspace.multiply({
    ...wide,
    weight: head.square.handle,
    rowCount: d,
    target: head.projected.handle,
  });
  const deviations = own
    ? rowNorms(head.projected.floats, n, d)
    : await targetDeviations(workspace, head, moments);
  await findSubspace(workspace, head, deviations, weights);
  writeParameters(head, samples, weights, { lower, deviations, moments });
}

/** Sums of products over a sample of the training tokens: own inputs, the targets' inputs, and between them. */
async function measureMoments(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
): Promise<Moments> {
  const { hiddenSize: d, batchTokens } = head.shape;
  const own = samples.targetInputs === samples.inputs;
  // The scores' memory is free until training begins.
  const targets = head.scores;
  const targetsTransposed = head.scoresTransposed;
  const square = { columnCount: batchTokens, rowCount: d, tokenCount: d, accumulate: true };
  const ops = [
    workspace.product({
      ...square,
      weight: head.xTransposed.handle,
      source: head.xTransposed.handle,
      target: head.covariance.handle,
    }),
  ];
  if (!own)
    ops.push(
      workspace.product({
        ...square,
        weight: head.xTransposed.handle,
        source: targetsTransposed.handle,
        target: head.cross.handle,
      }),
      workspace.product({
        ...square,
        weight: targetsTransposed.handle,
        source: targetsTransposed.handle,
        target: head.targetCovariance.handle,
      }),
    );
  const program = workspace.compile(...ops);
  for (const sum of [head.covariance, head.cross, head.targetCovariance]) sum.floats.fill(0);
  const mean = new Float64Array(d);
  const targetMean = own ? mean : new Float64Array(d);
  const stride = Math.max(1, Math.ceil(samples.training.length / START_TOKENS_MAX));
  const tokens = samples.training.filter((_, index) => index % stride === 0);
  for (let begin = 0; begin < tokens.length; begin += batchTokens) {
    const batch = tokens.subarray(begin, begin + batchTokens);
    gather(samples.inputs, batch, d, head.x, mean);
    transposeInto(head.x.floats, batchTokens, d, head.xTransposed.floats);
    if (!own) {
      gather(samples.targetInputs, batch, d, targets, targetMean);
      transposeInto(targets.floats, batchTokens, d, targetsTransposed.floats);
    }
    await workspace.run(program);
  }
  for (const sums of own ? [mean] : [mean, targetMean]) for (let k = 0; k < d; k++) sums[k]! /= tokens.length;
  return { mean, targetMean, tokenCount: tokens.length };
}

/** Rows of a batch as f32, zeros behind them, and their sum. */
function gather(
  source: Uint16Array,
  tokens: Uint32Array,
  d: number,
  target: Matrix,
  sum: Float64Array,
): void {
  for (let index = 0; index < tokens.length; index++) {
    const row = target.floats.subarray(index * d, (index + 1) * d);
    unpackRow(source, tokens[index]!, d, row);
    for (let k = 0; k < d; k++) sum[k]! += row[k]!;
  }
  target.floats.fill(0, tokens.length * d);
}

/** Sums of products as a covariance: `sums / count - rowMean * columnMean`. */
function centred(
  { floats }: Matrix,
  rowMean: Float64Array,
  columnMean: Float64Array,
  count: number,
  d: number,
): Float64Array {
  const result = new Float64Array(d * d);
  for (let row = 0; row < d; row++)
    for (let column = 0; column < d; column++)
      result[row * d + column] = floats[row * d + column]! / count - rowMean[row]! * columnMean[column]!;
  return result;
}

function ridged(covariance: Float64Array, d: number): Float64Array {
  let trace = 0;
  for (let k = 0; k < d; k++) trace += covariance[k * d + k]!;
  for (let k = 0; k < d; k++) covariance[k * d + k]! += (RIDGE * trace) / d + 1e-12;
  return covariance;
}

/** Into `square`: P transposed, where weight * P is what of the targets varies with each whitened direction. P is L for own inputs, cross * L^-T otherwise. */
function projectInto(
  head: StartMatrices & HeadParameters,
  cross: Float64Array | null,
  lower: Float64Array,
): void {
  const d = head.shape.hiddenSize;
  const target = head.square.floats;
  for (let row = 0; row < d; row++) {
    const vector = (cross ?? lower).subarray(row * d, (row + 1) * d);
    if (cross !== null) solveLower(lower, d, vector);
    for (let column = 0; column < d; column++) target[column * d + row] = vector[column]!;
  }
}

function rowNorms(rows: Float32Array, rowCount: number, columnCount: number): Float64Array {
  return Float64Array.from({ length: rowCount }, (_, row) => {
    let squares = 0;
    for (let k = row * columnCount; k < (row + 1) * columnCount; k++) squares += rows[k]! * rows[k]!;
    return Math.max(1e-9, Math.sqrt(squares));
  });
}

/** Standard deviation of each target over the tokens: sqrt(w C wᵀ). `projectedTransposed` is free here. */
async function targetDeviations(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  { targetMean, tokenCount }: Moments,
): Promise<Float64Array> {
  const { hiddenSize: d, neuronCount: n } = head.shape;
  const covariance = ridged(centred(head.targetCovariance, targetMean, targetMean, tokenCount, d), d);
  head.targetCovariance.floats.set(covariance);
  const product = head.projectedTransposed;
  await workspace.multiply({
    weight: head.targetCovariance.handle,
    rowCount: d,
    columnCount: d,
    source: head.weight.handle,
    tokenCount: n,
    target: product.handle,
  });
  return Float64Array.from({ length: n }, (_, neuron) => {
    let sum = 0;
    for (let k = neuron * d; k < (neuron + 1) * d; k++) sum += product.floats[k]! * head.weight.floats[k]!;
    return Math.max(1e-9, Math.sqrt(Math.max(0, sum)));
  });
}

/** Into `subspace`: orthonormal rows that span the directions with most of the weighted targets (subspace iteration). */
async function findSubspace(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  deviations: Float64Array,
  { activeShare, meanWeight }: LossWeights,
): Promise<void> {
  const { hiddenSize: d, neuronCount: n, rank } = head.shape;
  const rowCount = Math.min(d, rank + EXTRA_ROWS);
  const weighted = head.weight.floats; // Not needed any more.
  for (let neuron = 0; neuron < n; neuron++) {
    const importance = Math.sqrt(activeShare[neuron]! * meanWeight[neuron]!) / deviations[neuron]!;
    for (let k = neuron * d; k < (neuron + 1) * d; k++) weighted[k] = head.projected.floats[k]! * importance;
  }
  transposeInto(weighted, n, d, head.projectedTransposed.floats);
  const { handle } = head.projectedTransposed;
  await workspace.multiply({
    weight: handle,
    rowCount: d,
    columnCount: n,
    source: handle,
    tokenCount: d,
    target: head.square.handle,
  });
  let state = 1;
  const from = head.subspace.floats;
  for (let index = 0; index < from.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    from[index] = state / 2 ** 31 - 1;
  }
  orthonormaliseRows(from, rowCount, d);
  const step = workspace.compile(
    workspace.product({
      weight: head.square.handle,
      rowCount: d,
      columnCount: d,
      source: head.subspace.handle,
      tokenCount: rowCount,
      target: head.nextSubspace.handle,
    }),
  );
  for (let index = 0; index < SUBSPACE_STEPS; index++) {
    await workspace.run(step);
    from.set(head.nextSubspace.floats);
    orthonormaliseRows(from, rowCount, d);
  }
  await workspace.multiply({
    weight: head.subspace.handle,
    rowCount: rank,
    columnCount: d,
    source: head.projected.handle,
    tokenCount: n,
    target: head.b.handle,
  });
}

interface StartFacts {
  readonly lower: Float64Array;
  readonly deviations: Float64Array;
  readonly moments: Moments;
}

function writeParameters(
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
  weights: LossWeights,
  { lower, deviations, moments }: StartFacts,
): void {
  const { hiddenSize: d, neuronCount: n, rank } = head.shape;
  const lowMean = new Float64Array(rank);
  const vector = new Float64Array(d);
  for (let row = 0; row < rank; row++) {
    vector.set(head.subspace.floats.subarray(row * d, (row + 1) * d));
    solveLowerTransposed(lower, d, vector);
    head.a.floats.set(vector, row * d);
    for (let k = 0; k < d; k++) lowMean[row]! += vector[k]! * moments.mean[k]!;
  }
  const b = head.b.floats;
  for (let neuron = 0; neuron < n; neuron++) {
    const row = neuron * rank;
    let mean = samples.bias[neuron]!;
    for (let k = 0; k < d; k++) mean += samples.weight[neuron * d + k]! * moments.targetMean[k]!;
    let explained = 0;
    let fromMean = 0;
    for (let k = 0; k < rank; k++) {
      explained += b[row + k]! * b[row + k]!;
      fromMean += b[row + k]! * lowMean[k]!;
    }
    const variance = deviations[neuron]! ** 2;
    const scale = LOGISTIC_OF_NORMAL / Math.sqrt(Math.max(variance - explained, 0.02 * variance));
    for (let k = 0; k < rank; k++) b[row + k]! *= scale;
    const balance = Math.log(weights.meanWeight[neuron]! / weights.inactive);
    head.bias.floats[neuron] = scale * (mean - fromMean) + Math.max(-8, Math.min(8, balance));
  }
  transposeInto(b, n, rank, head.bTransposed.floats);
}

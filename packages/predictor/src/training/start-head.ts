import { makeEstimate } from "./estimate.js";
import type { HeadParameters, StartMatrices } from "./head-parameters.js";
import type { HeadSamples } from "./head-samples.js";
import type { LossWeights } from "./loss.js";
import { loadStartSamples, type StartSamples } from "./start-samples.js";
import { findSubspace } from "./subspace.js";
import { transposeInto } from "./transpose.js";
import type { Workspace } from "./workspace.js";

/** A logistic curve with this factor is within 0.01 of a normal distribution's. */
const LOGISTIC_OF_NORMAL = 1.702;

/**
 * A starting point that needs no training: whether a neuron fires is decided by `weight * targetInput + bias`, so the head begins as the best
 * low-rank linear estimate of that number from its own input (reduced-rank regression; for a head on the layer's own input a truncated
 * singular value decomposition of the weight, in the metric of the inputs), neurons weighted by what they contribute, and scaled by what it leaves
 * unexplained so that scores are log odds. Writes `a`, `b`, `bTransposed` and `bias`.
 */
export async function startHead(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
  weights: LossWeights,
): Promise<void> {
  const sample = await loadStartSamples(workspace, head, samples);
  const estimate = await makeEstimate(workspace, head, sample);
  head.weight.floats.set(samples.weight);
  const variances = await targetVariances(workspace, head, sample);
  const importance = Float64Array.from(variances, (variance, neuron) =>
    Math.sqrt((weights.activeShare[neuron]! * weights.meanWeight[neuron]!) / variance),
  );
  await findSubspace(workspace, head, estimate, importance);
  const unexplained = await residuals(workspace, head, sample);
  writeParameters(head, samples, weights, { sample, variances, unexplained });
}

/** Variance of each neuron's `weight * targetInput` over the tokens, of the sketch, whose images stay in `scoresTransposed`, `[batchTokens, neuronCount]`. */
async function targetVariances(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  { targetSketch }: StartSamples,
): Promise<Float64Array> {
  const { hiddenSize, neuronCount, batchTokens } = head.shape;
  await workspace.multiply({
    weight: head.weight.handle,
    rowCount: neuronCount,
    columnCount: hiddenSize,
    source: targetSketch.handle,
    tokenCount: batchTokens,
    target: head.scoresTransposed.handle,
  });
  return columnSquares(head.scoresTransposed.floats, batchTokens, neuronCount).map((sum) =>
    Math.max(1e-18, sum),
  );
}

/** What the head leaves of each variance: of the same sketch, so that the error is a share of the rest and not of the whole. */
async function residuals(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  { sketch }: StartSamples,
): Promise<Float64Array> {
  const { hiddenSize, neuronCount, rank, batchTokens } = head.shape;
  const all = { tokenCount: batchTokens };
  await workspace.run(
    workspace.compile(
      workspace.product({
        ...all,
        weight: head.a.handle,
        rowCount: rank,
        columnCount: hiddenSize,
        source: sketch.handle,
        target: head.low.handle,
      }),
      workspace.product({
        ...all,
        weight: head.b.handle,
        rowCount: neuronCount,
        columnCount: rank,
        source: head.low.handle,
        target: head.scores.handle,
      }),
    ),
  );
  const left = head.scoresTransposed.floats;
  for (let at = 0; at < left.length; at++) left[at]! -= head.scores.floats[at]!;
  return columnSquares(left, batchTokens, neuronCount);
}

function columnSquares(rows: Float32Array, rowCount: number, columnCount: number): Float64Array {
  const sums = new Float64Array(columnCount);
  for (let row = 0; row < rowCount; row++)
    for (let column = 0; column < columnCount; column++)
      sums[column]! += rows[row * columnCount + column]! ** 2;
  return sums;
}

interface StartFacts {
  readonly sample: StartSamples;
  readonly variances: Float64Array;
  readonly unexplained: Float64Array;
}

function writeParameters(
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
  weights: LossWeights,
  { sample, variances, unexplained }: StartFacts,
): void {
  const { hiddenSize: d, neuronCount: n, rank } = head.shape;
  const lowMean = new Float64Array(rank);
  for (let row = 0; row < rank; row++)
    for (let k = 0; k < d; k++) lowMean[row]! += head.a.floats[row * d + k]! * sample.mean[k]!;
  const b = head.b.floats;
  for (let neuron = 0; neuron < n; neuron++) {
    const row = neuron * rank;
    let mean = samples.bias[neuron]!;
    for (let k = 0; k < d; k++) mean += samples.weight[neuron * d + k]! * sample.targetMean[k]!;
    let fromMean = 0;
    for (let k = 0; k < rank; k++) fromMean += b[row + k]! * lowMean[k]!;
    const scale = LOGISTIC_OF_NORMAL / Math.sqrt(Math.max(unexplained[neuron]!, 0.02 * variances[neuron]!));
    for (let k = 0; k < rank; k++) b[row + k]! *= scale;
    const balance = Math.log(weights.meanWeight[neuron]! / weights.inactive);
    head.bias.floats[neuron] = scale * (mean - fromMean) + Math.max(-8, Math.min(8, balance));
  }
  transposeInto(b, n, rank, head.bTransposed.floats);
}

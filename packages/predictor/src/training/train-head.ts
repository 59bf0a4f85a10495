import { type HeadDtype, type HeadPoint, headMatrixDtype, type KernelSet } from "@flashlm/contracts";
import { AdamW } from "./adamw.js";
import { allocateHead, type HeadParameters, type StartMatrices } from "./head-parameters.js";
import { type HeadSamples, unpackRow } from "./head-samples.js";
import { type LossWeights, lossGradient, lossWeights } from "./loss.js";
import { MISSED_TARGETS, ScoreHistogram } from "./measure-head.js";
import { pseudoRandom } from "./pseudo-random.js";
import { startHead } from "./start-head.js";
import { type StoredMatrix, storeMatrix } from "./store-matrix.js";
import { transposeInto } from "./transpose.js";
import { type HeadShape, type Matrix, Workspace } from "./workspace.js";

/** Heads are chosen by the thresholds that miss at most this share of the contribution; more costs too much of the answer. */
const MISSED_TARGET_USED = 0.02;

/** How a head is trained. */
export interface TrainingOptions {
  /** Passes over the training tokens; 0 keeps the starting point. */
  readonly epochCount: number;
  /** Learning rate as a share of the root mean square of the parameters it moves; falls to 0 along a cosine. */
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Exponent of an active neuron's contribution in its weight: 0 plain, 0.5 its square root. */
  readonly contributionPower: number;
  /** What the trained head is stored in; training itself is in f32. */
  readonly headDtype: HeadDtype;
  readonly seed: number;
}

/** A trained head as a bundle stores it. */
export interface TrainedHead {
  readonly rank: number;
  /** `[rank, hiddenSize]`, in the `headMatrixDtype` of its rows. */
  readonly a: Uint8Array;
  /** `[neuronCount, rank]`, likewise. */
  readonly b: Uint8Array;
  /** f32 `[neuronCount]`. */
  readonly bias: Float32Array;
  /** What the stored head reaches on the held-out tokens. */
  readonly points: readonly HeadPoint[];
  /** Active share of the held-out tokens. */
  readonly activeShare: number;
}

/** Trains heads of one shape, one after the other, in memory allocated once. */
export class HeadTrainer {
  readonly #workspace: Workspace;
  readonly #head: HeadParameters & StartMatrices;
  readonly #optimizers: readonly AdamW[];
  readonly #biasGradient: Float32Array;

  /** @throws KERNEL_MEMORY when the set has less than `trainingBytes(shape)`. The caller keeps the set. */
  constructor(kernels: KernelSet, shape: HeadShape) {
    this.#workspace = new Workspace(kernels);
    this.#head = allocateHead(this.#workspace, shape);
    const { a, bTransposed, bias } = this.#head;
    this.#optimizers = [a, bTransposed, bias].map(({ floats }) => new AdamW(floats.length));
    this.#biasGradient = new Float32Array(shape.neuronCount);
  }

  /**
   * Starts from the best linear estimate, trains with the balanced loss, and measures the start and each epoch on the held-out tokens: the head that names
   * the fewest neurons there is kept, since training fits its own tokens ever better. `onProgress` gets the share of the steps done.
   */
  async train(
    samples: HeadSamples,
    options: TrainingOptions,
    onProgress: (doneShare: number) => void = () => {},
  ): Promise<TrainedHead> {
    const weights = lossWeights(samples, options.contributionPower);
    await startHead(this.#workspace, this.#head, samples, weights);
    let best = await this.#measure(samples, options.headDtype);
    await this.#descend(samples, weights, options, onProgress, async () => {
      const next = await this.#measure(samples, options.headDtype);
      if (namedShare(next) < namedShare(best)) best = next;
    });
    return best;
  }

  /** Forward and backward products of a minibatch, around the loss. */
  #compileSteps(): Record<"forward" | "backward", ReturnType<Workspace["compile"]>> {
    const { shape, ...m } = this.#head;
    const { hiddenSize, neuronCount, rank, batchTokens } = shape;
    const product = (
      weight: Matrix,
      rowCount: number,
      columnCount: number,
      source: Matrix,
      tokenCount: number,
      target: Matrix,
      bias?: Matrix,
    ) =>
      this.#workspace.product({
        weight: weight.handle,
        rowCount,
        columnCount,
        source: source.handle,
        tokenCount,
        target: target.handle,
        ...(bias ? { bias: bias.handle } : {}),
      });
    return {
      forward: this.#workspace.compile(
        product(m.a, rank, hiddenSize, m.x, batchTokens, m.low),
        product(m.b, neuronCount, rank, m.low, batchTokens, m.scores, m.bias),
      ),
      backward: this.#workspace.compile(
        product(m.bTransposed, rank, neuronCount, m.scores, batchTokens, m.lowGradient),
        product(m.scoresTransposed, neuronCount, batchTokens, m.lowTransposed, rank, m.bGradient),
      ),
    };
  }

  async #descend(
    samples: HeadSamples,
    weights: LossWeights,
    options: TrainingOptions,
    onProgress: (doneShare: number) => void,
    onEpoch: () => Promise<void>,
  ): Promise<void> {
    const { shape, ...m } = this.#head;
    const { hiddenSize, neuronCount, rank, batchTokens } = shape;
    const steps = this.#compileSteps();
    const gradientOfA = this.#workspace.compile(
      this.#workspace.product({
        weight: m.xTransposed.handle,
        rowCount: hiddenSize,
        columnCount: batchTokens,
        source: m.lowGradientTransposed.handle,
        tokenCount: rank,
        target: m.aGradient.handle,
      }),
    );
    const optimizers = this.#optimizers;
    for (const optimizer of optimizers) optimizer.reset();
    const scales = [m.a, m.bTransposed].map(({ floats }) => rootMeanSquare(floats));
    const biasGradient = this.#biasGradient;
    const batchesPerEpoch = Math.floor(samples.training.length / batchTokens);
    const stepCount = batchesPerEpoch * options.epochCount;
    let tokens = samples.training;
    for (let step = 0; step < stepCount; step++) {
      if (step % batchesPerEpoch === 0) tokens = shuffled(samples.training, options.seed + step);
      const from = (step % batchesPerEpoch) * batchTokens;
      const batch = tokens.subarray(from, from + batchTokens);
      this.#load(samples.inputs, batch);
      transposeInto(m.x.floats, batchTokens, hiddenSize, m.xTransposed.floats);
      await this.#workspace.run(steps.forward);
      lossGradient(m.scores.floats, samples, batch, weights);
      transposeInto(m.scores.floats, batchTokens, neuronCount, m.scoresTransposed.floats);
      transposeInto(m.low.floats, batchTokens, rank, m.lowTransposed.floats);
      await this.#workspace.run(steps.backward);
      transposeInto(m.lowGradient.floats, batchTokens, rank, m.lowGradientTransposed.floats);
      await this.#workspace.run(gradientOfA);
      sumRows(m.scoresTransposed.floats, batchTokens, biasGradient);
      const rate = options.learningRate * scheduleAt(step, stepCount);
      optimizers[0]!.step(m.a.floats, m.aGradient.floats, rate * scales[0]!, options.weightDecay);
      optimizers[1]!.step(m.bTransposed.floats, m.bGradient.floats, rate * scales[1]!, options.weightDecay);
      optimizers[2]!.step(m.bias.floats, biasGradient, rate, 0);
      transposeInto(m.bTransposed.floats, rank, neuronCount, m.b.floats);
      if ((step + 1) % batchesPerEpoch === 0) await onEpoch();
      onProgress((step + 1) / stepCount);
    }
  }

  /** Inputs of a batch, zeros behind them. */
  #load(inputs: Uint16Array, tokens: Uint32Array): void {
    const { x, shape } = this.#head;
    const { hiddenSize } = shape;
    for (let index = 0; index < tokens.length; index++)
      unpackRow(
        inputs,
        tokens[index]!,
        hiddenSize,
        x.floats.subarray(index * hiddenSize, (index + 1) * hiddenSize),
      );
    x.floats.fill(0, tokens.length * hiddenSize);
  }

  /** Rounds the head to what it is stored in and measures what it then does, with the kernels that will run it. The head itself stays as it is, to be trained on. */
  async #measure(samples: HeadSamples, dtype: HeadDtype): Promise<TrainedHead> {
    const { shape, ...m } = this.#head;
    const { hiddenSize, neuronCount, rank, batchTokens } = shape;
    // Gradients are made anew in each step: between steps their memory takes the rounded weights.
    const store = (from: Matrix, to: Matrix, rowCount: number, columnCount: number): Promise<StoredMatrix> =>
      storeMatrix(this.#workspace, from, to, rowCount, columnCount, headMatrixDtype(dtype, columnCount));
    const a = await store(m.a, m.aGradient, rank, hiddenSize);
    const b = await store(m.b, m.bGradient, neuronCount, rank);
    const score = this.#workspace.compile(
      this.#workspace.product({
        ...a.weight,
        source: m.x.handle,
        tokenCount: batchTokens,
        target: m.low.handle,
      }),
      this.#workspace.product({
        ...b.weight,
        source: m.low.handle,
        tokenCount: batchTokens,
        target: m.scores.handle,
        bias: m.bias.handle,
      }),
    );
    const histogram = new ScoreHistogram();
    let active = 0;
    for (let begin = 0; begin < samples.heldOut.length; begin += batchTokens) {
      const batch = samples.heldOut.subarray(begin, begin + batchTokens);
      this.#load(samples.inputs, batch);
      await this.#workspace.run(score);
      histogram.add(m.scores.floats, batch, samples);
      for (const token of batch)
        for (let at = token * neuronCount; at < (token + 1) * neuronCount; at++)
          if (samples.codes[at] !== 0) active++;
    }
    return {
      rank,
      a: a.bytes,
      b: b.bytes,
      bias: m.bias.floats.slice(),
      points: MISSED_TARGETS.map((target) => histogram.point(target)),
      activeShare: active / (samples.heldOut.length * neuronCount),
    };
  }
}

/** Share of the neurons that a head names on the held-out tokens, over the thresholds that are used: those that miss little. */
function namedShare({ points }: TrainedHead): number {
  const used = points.filter(({ missedTarget }) => missedTarget <= MISSED_TARGET_USED);
  return used.reduce((sum, point) => sum + point.predictedShare, 0) / used.length;
}

function rootMeanSquare(values: Float32Array): number {
  let squares = 0;
  for (let index = 0; index < values.length; index++) squares += values[index]! * values[index]!;
  return Math.sqrt(squares / values.length);
}

/** Sum of each row of `[target.length, columnCount]`. */
function sumRows(source: Float32Array, columnCount: number, target: Float32Array): void {
  for (let row = 0; row < target.length; row++) {
    let sum = 0;
    for (let at = row * columnCount; at < (row + 1) * columnCount; at++) sum += source[at]!;
    target[row] = sum;
  }
}

/** Warms up over the first twentieth, then falls along a cosine. */
function scheduleAt(step: number, stepCount: number): number {
  const warm = Math.min(1, (step + 1) / Math.max(1, stepCount / 20));
  return warm * 0.5 * (1 + Math.cos((Math.PI * step) / stepCount));
}

/** A copy in an order that the seed decides (Fisher and Yates). */
function shuffled(tokens: Uint32Array, seed: number): Uint32Array {
  const copy = tokens.slice();
  const random = pseudoRandom(seed);
  for (let last = copy.length - 1; last > 0; last--) {
    const other = random() % (last + 1);
    const kept = copy[last]!;
    copy[last] = copy[other]!;
    copy[other] = kept;
  }
  return copy;
}

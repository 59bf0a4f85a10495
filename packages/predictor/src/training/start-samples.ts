import type { HeadParameters, StartMatrices } from "./head-parameters.js";
import { type HeadSamples, unpackRow } from "./head-samples.js";
import { pseudoRandom } from "./pseudo-random.js";
import { transposeInto } from "./transpose.js";
import type { Matrix, Workspace } from "./workspace.js";

/** Tokens that means and covariances are taken over, at most. */
const START_TOKENS_MAX = 8192;
/** Added to the diagonal of a covariance, as a share of its mean: directions that hardly vary must not be blown up. */
const RIDGE = 1e-3;

/**
 * A sample of T training tokens: X, the inputs less their mean over sqrt(T), `[T, hiddenSize]`, and Y, the same of the targets' inputs. Up to `hiddenSize` tokens
 * they stand in `inputs` and `targets`, and transposed; of more tokens only products do: XᵀX in `inputs`, XᵀY in `targets` and `targetsTransposed`.
 * X and Y are one matrix where a head names its own layer's neurons; then nothing stands in `targets`.
 */
export interface StartSamples {
  readonly own: boolean;
  readonly mean: Float64Array;
  readonly targetMean: Float64Array;
  readonly tokenCount: number;
  /** Whether X and Y themselves are there. */
  readonly whole: boolean;
  /** What stands for a variance of nothing: the ridge on the diagonal of XᵀX. */
  readonly ridge: number;
  /**
   * X and Y in `batchTokens` rows: each row sums tokens with random signs, so that squared lengths of their images are right on average (count sketch;
   * Charikar, Chen and Farach-Colton 2002). Of 256 rows they are within 9 % of the tokens' own, one standard deviation; exact where no two tokens share a row.
   */
  readonly sketch: Matrix;
  readonly targetSketch: Matrix;
}

/** Inputs of some tokens less their mean, and what is summed up about them on the way. */
class CentredRows {
  readonly mean: Float64Array;
  /** Sum of the squares of all elements so far. */
  trace = 0;
  readonly #source: Uint16Array;
  readonly #tokens: Uint32Array;
  readonly #sketch: Float32Array;
  readonly #sketchRows: number;
  readonly #sign = pseudoRandom(1);

  constructor(source: Uint16Array, tokens: Uint32Array, d: number, sketch: Matrix, sketchRows: number) {
    this.#source = source;
    this.#tokens = tokens;
    this.#sketch = sketch.floats;
    this.#sketchRows = sketchRows;
    this.#sketch.fill(0);
    this.mean = new Float64Array(d);
    const row = new Float32Array(d);
    for (const token of tokens) {
      unpackRow(source, token, d, row);
      for (let k = 0; k < d; k++) this.mean[k]! += row[k]!;
    }
    for (let k = 0; k < d; k++) this.mean[k]! /= tokens.length;
  }

  /** Rows `begin` to `end - 1` into `target`, and into the sketch. Each row is asked for once, in order. */
  write(begin: number, end: number, target: Float32Array): void {
    const d = this.mean.length;
    const scale = 1 / Math.sqrt(this.#tokens.length);
    for (let index = begin; index < end; index++) {
      const row = target.subarray((index - begin) * d, (index - begin + 1) * d);
      unpackRow(this.#source, this.#tokens[index]!, d, row);
      const sign = this.#sign() & 1 ? 1 : -1;
      const sketched = (index % this.#sketchRows) * d;
      for (let k = 0; k < d; k++) {
        const value = (row[k]! - this.mean[k]!) * scale;
        row[k] = value;
        this.trace += value * value;
        this.#sketch[sketched + k]! += sign * value;
      }
    }
  }
}

/** Takes the sample into the matrices of the starting point. `scores`, `weight` and `weightTransposed` are overwritten; the sketches lie in `x` and `xTransposed`. */
export async function loadStartSamples(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  samples: HeadSamples,
): Promise<StartSamples> {
  const { hiddenSize: d, batchTokens } = head.shape;
  const own = samples.targetInputs === samples.inputs;
  const stride = Math.max(1, Math.ceil(samples.training.length / START_TOKENS_MAX));
  const tokens = samples.training.filter((_, index) => index % stride === 0);
  const whole = tokens.length <= d;
  const x = new CentredRows(samples.inputs, tokens, d, head.x, batchTokens);
  const y = own ? x : new CentredRows(samples.targetInputs, tokens, d, head.xTransposed, batchTokens);
  if (whole) {
    for (const [rows, matrix, transposed] of [
      [x, head.inputs, head.inputsTransposed],
      ...(own ? [] : [[y, head.targets, head.targetsTransposed] as const]),
    ] as const) {
      rows.write(0, tokens.length, matrix.floats);
      transposeInto(matrix.floats, tokens.length, d, transposed.floats);
    }
  } else await sumProducts(workspace, head, tokens.length, x, own ? null : y);
  return {
    own,
    mean: x.mean,
    targetMean: y.mean,
    tokenCount: tokens.length,
    whole,
    ridge: (RIDGE * x.trace) / d + 1e-12,
    sketch: head.x,
    targetSketch: own ? head.x : head.xTransposed,
  };
}

/** XᵀX, and XᵀY with its transpose where there are targets, minibatch by minibatch. */
async function sumProducts(
  workspace: Workspace,
  head: HeadParameters & StartMatrices,
  tokenCount: number,
  x: CentredRows,
  y: CentredRows | null,
): Promise<void> {
  const { hiddenSize: d, batchTokens } = head.shape;
  const rows = head.scores.floats;
  const [xTransposed, yTransposed] = [head.weight, head.weightTransposed];
  const product = (weight: Matrix, target: Matrix) =>
    workspace.product({
      weight: weight.handle,
      rowCount: d,
      columnCount: batchTokens,
      source: xTransposed.handle,
      tokenCount: d,
      target: target.handle,
      accumulate: true,
    });
  const program = workspace.compile(
    product(xTransposed, head.inputs),
    ...(y ? [product(yTransposed, head.targets)] : []),
  );
  for (const { floats } of [head.inputs, head.targets]) floats.fill(0);
  for (let begin = 0; begin < tokenCount; begin += batchTokens) {
    const end = Math.min(tokenCount, begin + batchTokens);
    rows.fill(0, (end - begin) * d, batchTokens * d);
    x.write(begin, end, rows);
    transposeInto(rows, batchTokens, d, xTransposed.floats);
    if (y) {
      y.write(begin, end, rows);
      transposeInto(rows, batchTokens, d, yTransposed.floats);
    }
    await workspace.run(program);
  }
  if (y) transposeInto(head.targets.floats, d, d, head.targetsTransposed.floats);
}

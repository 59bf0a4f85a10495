import { FlashlmError } from "@flashlm/contracts";
import { halfBits } from "./half.js";
import { levelOf, searchScale } from "./scale-search.js";

/** Share of the mean variance that is added to each input's own: keeps what was measured on a few thousand tokens from being trusted too far. */
const DAMPING = 0.1;
const BLOCK = 32;
const BLOCK_BYTES = 18;
/** Rows that share one reading of the factors. */
const LANES = 4;

/**
 * Second moments of a layer's FFN inputs within groups of neighbouring inputs: `values[(g * width + i) * width + j]` is the mean of `x[g * width + i] * x[g * width + j]`
 * over tokens, for `j <= i`. Moments between groups count as zero.
 */
export interface InputMoments {
  /** Inputs of a group; whole blocks of 32. */
  readonly groupWidth: number;
  /** f32 `[hiddenSize, groupWidth]`; what is above the diagonal is not read. */
  readonly values: Float32Array;
}

/**
 * Rounds rows to q4_0 so that the layer's outputs, not the weights, change least: what rounding one weight did to the
 * output is made up for by the weights that follow (error feedback by the factors of the inputs' second moments, as in
 * GPTQ, arXiv 2210.17323, and LDLQ, arXiv 2307.13304), and scales are searched by the same measure.
 */
export class MeasuredRounder {
  readonly #width: number;
  /** Row k of a group: how much of the error of each earlier weight falls to weight k. */
  readonly #feedback: Float64Array;
  /** The same within each block by the weight that the error comes from, `[hiddenSize, 32]`: what is read in a row lies in a row. */
  readonly #withinBlock: Float64Array;
  /** Error that a unit change of each weight makes after those that follow have made up for it. */
  readonly #importance: Float64Array;

  /** @throws CHECKPOINT_SHAPE where the moments do not fit rows of `hiddenSize`. */
  constructor(moments: InputMoments, hiddenSize: number) {
    const { groupWidth, values } = moments;
    if (
      groupWidth % BLOCK !== 0 ||
      hiddenSize % groupWidth !== 0 ||
      values.length !== hiddenSize * groupWidth
    )
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `expected moments of ${hiddenSize} inputs in groups of whole blocks of ${BLOCK}, got ${values.length} values in groups of ${groupWidth}`,
        { hiddenSize, groupWidth },
      );
    this.#width = groupWidth;
    this.#feedback = new Float64Array(values.length);
    this.#withinBlock = new Float64Array(hiddenSize * BLOCK);
    this.#importance = new Float64Array(hiddenSize);
    for (let begin = 0; begin < hiddenSize; begin += groupWidth) {
      const part = values.subarray(begin * groupWidth, (begin + groupWidth) * groupWidth);
      factorise(
        part,
        groupWidth,
        this.#feedback.subarray(begin * groupWidth, (begin + groupWidth) * groupWidth),
        this.#importance.subarray(begin, begin + groupWidth),
      );
    }
    for (let index = 0; index < hiddenSize; index++) {
      const block = index - (index % BLOCK);
      for (let later = 0; later < BLOCK; later++)
        this.#withinBlock[index * BLOCK + later] =
          this.#feedback[(block + later) * groupWidth + (index % groupWidth)]!;
    }
  }

  /**
   * Writes rows as q4_0. Each row's bytes depend on it alone.
   * @param rows - f32 `[rowCount, hiddenSize]`. Borrowed.
   * @param targets - where each row's bytes go.
   */
  encodeRows(rows: Float32Array, targets: readonly Uint8Array[]): void {
    const hiddenSize = this.#importance.length;
    const errors = new Float64Array(this.#width * LANES);
    const values = new Float64Array(BLOCK * LANES);
    for (let first = 0; first < targets.length; first += LANES) {
      const laneTargets = targets.slice(first, first + LANES);
      const laneRows = laneTargets.map((_, lane) =>
        rows.subarray((first + lane) * hiddenSize, (first + lane + 1) * hiddenSize),
      );
      for (let begin = 0; begin < hiddenSize; begin += BLOCK) {
        this.#wantedValues(laneRows, begin, errors, values);
        for (const [lane, target] of laneTargets.entries())
          this.#encodeBlock(laneRows[lane]!, begin, lane, values, errors, target);
      }
    }
  }

  /** What the weights of a block should be once the errors of the blocks before them are made up for, into `values` `[32, LANES]`. */
  #wantedValues(
    rows: readonly Float32Array[],
    begin: number,
    errors: Float64Array,
    values: Float64Array,
  ): void {
    const width = this.#width;
    const known = (begin % width) * LANES;
    for (let k = 0; k < BLOCK; k++) {
      let from = (begin + k) * width;
      let [a, b, c, d] = [0, 0, 0, 0];
      for (let at = 0; at < known; at += LANES, from++) {
        const factor = this.#feedback[from]!;
        a += factor * errors[at]!;
        b += factor * errors[at + 1]!;
        c += factor * errors[at + 2]!;
        d += factor * errors[at + 3]!;
      }
      const sums = [a, b, c, d];
      for (const [lane, row] of rows.entries()) values[k * LANES + lane] = row[begin + k]! + sums[lane]!;
    }
  }

  #encodeBlock(
    row: Float32Array,
    begin: number,
    lane: number,
    values: Float64Array,
    errors: Float64Array,
    target: Uint8Array,
  ): void {
    const width = this.#width;
    const inGroup = begin % width;
    const wanted = new Float64Array(BLOCK);
    for (let k = 0; k < BLOCK; k++) wanted[k] = values[k * LANES + lane]!;
    const scale = searchScale(wanted, this.#importance.subarray(begin, begin + BLOCK));
    const inverse = scale === 0 ? 0 : 1 / scale;
    const half = halfBits(Math.fround(scale));
    const at = (begin / BLOCK) * BLOCK_BYTES;
    target[at] = half;
    target[at + 1] = half >> 8;
    target.fill(0, at + 2, at + BLOCK_BYTES);
    for (let k = 0; k < BLOCK; k++) {
      const level = levelOf(wanted[k]!, inverse);
      const change = row[begin + k]! - level * scale;
      // A weight that is no number must not spoil those after it.
      const error = Number.isFinite(change) ? change : 0;
      errors[(inGroup + k) * LANES + lane] = error;
      target[at + 2 + (k & 15)]! |= (level + 8) << (k < 16 ? 0 : 4);
      // What this weight lost, the rest of the block makes up for.
      const column = (begin + k) * BLOCK;
      for (let later = k + 1; later < BLOCK; later++)
        wanted[later]! += error * this.#withinBlock[column + later]!;
    }
  }
}

/** Factors damped moments as `U diag(importance) U^T`, U upper triangular with ones on its diagonal, and writes `feedback = U^T`. */
function factorise(
  moments: Float32Array,
  width: number,
  feedback: Float64Array,
  importance: Float64Array,
): void {
  const rest = Float64Array.from(moments);
  let sum = 0;
  for (let i = 0; i < width; i++) for (let j = 0; j <= i; j++) sum += Math.abs(rest[i * width + j]!);
  // Inputs that were all zero, or no numbers, say nothing: then every weight counts alike.
  const isMeasured = sum > 0 && Number.isFinite(sum);
  if (!isMeasured) rest.fill(0);
  let variance = 0;
  for (let i = 0; i < width; i++) variance += rest[i * width + i]! / width;
  const damping = isMeasured ? DAMPING * variance : 1;
  for (let i = 0; i < width; i++) rest[i * width + i]! += damping;
  for (let k = width - 1; k >= 0; k--) {
    const pivot = rest[k * width + k]!;
    importance[k] = pivot;
    for (let j = 0; j < k; j++) feedback[k * width + j] = rest[k * width + j]! / pivot;
    for (let i = 0; i < k; i++) {
      const factor = rest[k * width + i]!;
      if (factor === 0) continue;
      for (let j = 0; j <= i; j++) rest[i * width + j]! -= factor * feedback[k * width + j]!;
    }
  }
}

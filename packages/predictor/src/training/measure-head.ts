import type { HeadPoint } from "@flashlm/contracts";
import type { HeadSamples } from "./head-samples.js";

/** Shares of missed contribution that thresholds are chosen for. */
export const MISSED_TARGETS: readonly number[] = [0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1];

/** Scores are counted in bins of this width between plus and minus the largest; beyond it lies all or nothing. */
const SCORE_MAX = 32;
const BINS_PER_UNIT = 100;
const BIN_COUNT = 2 * SCORE_MAX * BINS_PER_UNIT;

/** Bytes of a {@link ScoreHistogram}. */
export const HISTOGRAM_BYTES: number = 3 * 8 * BIN_COUNT;

/** What held-out scores say about a head: how many neurons and how much contribution stand at each score. */
export class ScoreHistogram {
  readonly #active: Float64Array = new Float64Array(BIN_COUNT);
  readonly #inactive: Float64Array = new Float64Array(BIN_COUNT);
  readonly #contribution: Float64Array = new Float64Array(BIN_COUNT);

  /** Counts scores f32 `[tokens.length, neuronCount]`. */
  add(scores: Float32Array, tokens: Uint32Array, samples: HeadSamples): void {
    const { codes, contributionOfCode, neuronCount } = samples;
    for (let index = 0; index < tokens.length; index++) {
      const codeRow = tokens[index]! * neuronCount;
      for (let neuron = 0; neuron < neuronCount; neuron++) {
        const at = Math.ceil((scores[index * neuronCount + neuron]! + SCORE_MAX) * BINS_PER_UNIT) - 1;
        const bin = at < 0 ? 0 : at < BIN_COUNT ? at : BIN_COUNT - 1;
        const code = codes[codeRow + neuron]!;
        if (code === 0) this.#inactive[bin]!++;
        else {
          this.#active[bin]!++;
          this.#contribution[bin]! += contributionOfCode[code]!;
        }
      }
    }
  }

  /** The highest threshold that misses at most `missedTarget` of the contribution, and what it means. */
  point(missedTarget: number): HeadPoint {
    const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);
    const activeTotal = sum(this.#active);
    const inactiveTotal = sum(this.#inactive);
    const contributionTotal = sum(this.#contribution);
    let missed = 0;
    let missedActive = 0;
    let rejected = 0;
    let bin = 0;
    for (; bin < BIN_COUNT; bin++) {
      const next = missed + this.#contribution[bin]!;
      if (next > missedTarget * contributionTotal) break;
      missed = next;
      missedActive += this.#active[bin]!;
      rejected += this.#inactive[bin]!;
    }
    const share = (part: number, whole: number): number => (whole > 0 ? part / whole : 0);
    const falsePositives = inactiveTotal - rejected;
    return {
      missedTarget,
      threshold: bin / BINS_PER_UNIT - SCORE_MAX,
      predictedShare: share(falsePositives + activeTotal - missedActive, activeTotal + inactiveTotal),
      falseNegativeShare: share(missedActive, activeTotal),
      falsePositiveShare: share(falsePositives, inactiveTotal),
      missedShare: share(missed, contributionTotal),
    };
  }
}

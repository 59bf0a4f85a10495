import { FlashlmError, type SamplingOptions } from "@flashlm/contracts";
import { createRandomSource } from "./random.js";
import { TokenWeights } from "./token-weights.js";

/** Tokens back that the repetition penalty looks at, as the contract says. */
export const REPETITION_WINDOW_TOKENS = 64;

/** Draws tokens. Holds its random state, so the same calls in the same order give the same tokens. */
export interface Sampler {
  /**
   * Picks the next token.
   * @param logits - f32 `[vocabularySize]`, borrowed and not changed.
   * @param recentTokens - tokens so far, oldest first; only the last 64 count.
   * @throws ENGINE_OPTION for another number of logits, ENGINE_CONTRACT when no logit is a number above minus infinity.
   */
  next(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): number;
  /**
   * Writes the probability with which {@link next} would pick each token. Takes no random number.
   * @param target - `[vocabularySize]`, overwritten; sums up to 1.
   * @throws as {@link next}.
   */
  weigh(
    logits: Float32Array,
    recentTokens: readonly number[] | Uint32Array,
    target: Float32Array | Float64Array,
  ): void;
}

function check(holds: boolean, name: string, expected: string, actual: unknown): void {
  if (holds) return;
  throw new FlashlmError(
    "ENGINE_OPTION",
    `sampling: expected ${name} to be ${expected}, got ${String(actual)}`,
    {
      option: name,
      expected,
      actual: String(actual),
    },
  );
}

function checkOptions(options: SamplingOptions, vocabularySize: number): void {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  check(
    Number.isInteger(vocabularySize) && vocabularySize > 0,
    "vocabularySize",
    "a positive integer",
    vocabularySize,
  );
  check(Number.isFinite(temperature) && temperature >= 0, "temperature", "0 (greedy) or more", temperature);
  check(Number.isInteger(topK) && topK >= 0, "topK", "0 (off) or a positive integer", topK);
  check(topP > 0 && topP <= 1, "topP", "above 0 and at most 1 (off)", topP);
  check(minP >= 0 && minP <= 1, "minP", "from 0 (off) to 1", minP);
  check(
    Number.isFinite(repetitionPenalty) && repetitionPenalty > 0,
    "repetitionPenalty",
    "above 0 (1 is off)",
    repetitionPenalty,
  );
  check(Number.isSafeInteger(seed) && seed >= 0, "seed", "a non-negative safe integer", seed);
}

/** Index of the first largest logit, or -1 when none is above minus infinity. */
function indexOfLargest(scores: Float32Array): number {
  let best = -1;
  let bestScore = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] as number;
    if (score > bestScore) {
      bestScore = score;
      best = id;
    }
  }
  return best;
}

/**
 * Makes a sampler. Filters work in this order: repetition penalty, temperature, top-k, top-p (on what top-k left,
 * normalised; the token that crosses the share stays), min-p (relative to the best token). Temperature 0 takes the
 * first largest logit after the penalty. `next` allocates nothing of vocabulary size.
 * @throws ENGINE_OPTION.
 */
export function createSampler(options: SamplingOptions, vocabularySize: number): Sampler {
  checkOptions(options, vocabularySize);
  return new FilteringSampler({ ...options }, vocabularySize);
}

class FilteringSampler implements Sampler {
  readonly #options: SamplingOptions;
  readonly #random: { next(): number };
  /** Logits after the penalty. */
  readonly #scores: Float32Array;
  readonly #kept: TokenWeights;

  constructor(options: SamplingOptions, vocabularySize: number) {
    this.#options = options;
    this.#random = createRandomSource(options.seed);
    this.#scores = new Float32Array(vocabularySize);
    this.#kept = new TokenWeights(options, options.temperature > 0 ? vocabularySize : 1);
  }

  next(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): number {
    const certain = this.#filter(logits, recentTokens);
    return certain >= 0 ? certain : this.#kept.at(this.#random.next());
  }

  weigh(
    logits: Float32Array,
    recentTokens: readonly number[] | Uint32Array,
    target: Float32Array | Float64Array,
  ): void {
    const certain = this.#filter(logits, recentTokens);
    target.fill(0);
    if (certain >= 0) {
      target[certain] = 1;
      return;
    }
    const { ids, weights, count, mass } = this.#kept;
    for (let index = 0; index < count; index++)
      target[ids[index] as number] = (weights[index] as number) / mass;
  }

  /** Filters into `#kept`, or returns the token where only one is possible; -1 otherwise. */
  #filter(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): number {
    check(logits.length === this.#scores.length, "logits", `${this.#scores.length} long`, logits.length);
    const scores = this.#penalise(logits, recentTokens);
    const best = indexOfLargest(scores);
    if (best < 0) {
      throw new FlashlmError(
        "ENGINE_CONTRACT",
        "sampling: expected logits with at least one finite number, found only NaN or minus infinity; " +
          "the weights are damaged or a kernel is wrong",
      );
    }
    const bestScore = scores[best] as number;
    if (this.#options.temperature === 0 || bestScore === Number.POSITIVE_INFINITY) return best;
    this.#kept.select(scores, bestScore);
    return -1;
  }

  #penalise(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): Float32Array {
    const penalty = this.#options.repetitionPenalty;
    if (penalty === 1) return logits;
    const scores = this.#scores;
    scores.set(logits);
    for (
      let index = Math.max(0, recentTokens.length - REPETITION_WINDOW_TOKENS);
      index < recentTokens.length;
      index++
    ) {
      const id = recentTokens[index] as number;
      // Read from the original, so that a token seen twice is penalised once.
      const logit = logits[id];
      if (logit !== undefined) scores[id] = logit > 0 ? logit / penalty : logit * penalty;
    }
    return scores;
  }
}

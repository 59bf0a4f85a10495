import { FlashlmError, type SamplingOptions } from "@flashlm/contracts";
import { Candidates } from "./candidates.js";
import { createRandomSource } from "./random.js";

/** Tokens back that the repetition penalty looks at, as the contract says. */
export const REPETITION_WINDOW_TOKENS = 64;

/** Best tokens that are sorted at first for top-p; more are only needed for flat distributions. */
const SORTED_COUNT_FIRST = 256;

/** Draws tokens. Holds its random state, so the same calls in the same order give the same tokens. */
export interface Sampler {
  /**
   * Picks the next token.
   * @param logits - f32 `[vocabularySize]`, borrowed and not changed.
   * @param recentTokens - tokens so far, oldest first; only the last 64 count.
   * @throws ENGINE_OPTION for another number of logits, ENGINE_CONTRACT when no logit is a number above minus infinity.
   */
  next(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): number;
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
  readonly #candidates: Candidates;
  readonly #weights: Float64Array;

  constructor(options: SamplingOptions, vocabularySize: number) {
    this.#options = options;
    this.#random = createRandomSource(options.seed);
    const sampled = options.temperature > 0;
    this.#scores = new Float32Array(vocabularySize);
    this.#candidates = new Candidates(sampled ? vocabularySize : 1);
    this.#weights = new Float64Array(sampled ? vocabularySize : 1);
  }

  next(logits: Float32Array, recentTokens: readonly number[] | Uint32Array): number {
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
    if (this.#options.temperature === 0 || scores[best] === Number.POSITIVE_INFINITY) return best;
    return this.#draw(scores, scores[best] as number);
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

  #draw(scores: Float32Array, bestScore: number): number {
    const { topK, topP } = this.#options;
    if (topK === 0 && topP === 1) return this.#drawUnsorted(scores, bestScore);
    const limit = topK === 0 ? scores.length : Math.min(topK, scores.length);
    if (topP === 1 || topK > 0) {
      this.#candidates.selectBest(scores, limit);
      return this.#drawSorted(scores, bestScore, this.#weighSorted(scores, bestScore));
    }
    const total = this.#weighAll(scores, bestScore);
    for (let count = Math.min(SORTED_COUNT_FIRST, limit); ; count = Math.min(count * 8, limit)) {
      this.#candidates.selectBest(scores, count);
      const sorted = this.#weighSorted(scores, bestScore);
      if (count === limit || sorted >= topP * total) return this.#drawSorted(scores, bestScore, total);
    }
  }

  #weight(score: number, bestScore: number): number {
    return score > Number.NEGATIVE_INFINITY ? Math.exp((score - bestScore) / this.#options.temperature) : 0;
  }

  #weighAll(scores: Float32Array, bestScore: number): number {
    let total = 0;
    for (let id = 0; id < scores.length; id++) total += this.#weight(scores[id] as number, bestScore);
    return total;
  }

  #weighSorted(scores: Float32Array, bestScore: number): number {
    const { ids, count } = this.#candidates;
    let total = 0;
    for (let index = 0; index < count; index++)
      total += this.#weight(scores[ids[index] as number] as number, bestScore);
    return total;
  }

  /** Draws among the sorted candidates; `total` is the weight that top-p is a share of. */
  #drawSorted(scores: Float32Array, bestScore: number, total: number): number {
    const { topP, minP } = this.#options;
    const { ids, count } = this.#candidates;
    const weights = this.#weights;
    let kept = 0;
    let mass = 0;
    while (kept < count && (kept === 0 || mass < topP * total || topP === 1)) {
      const weight = this.#weight(scores[ids[kept] as number] as number, bestScore);
      // The best token weighs 1.
      if (kept > 0 && weight < minP) break;
      weights[kept++] = weight;
      mass += weight;
    }
    let target = this.#random.next() * mass;
    for (let index = 0; index < kept; index++) {
      target -= weights[index] as number;
      if (target < 0) return ids[index] as number;
    }
    return ids[kept - 1] as number;
  }

  /** Without top-k and top-p no order is needed: two passes over the vocabulary. */
  #drawUnsorted(scores: Float32Array, bestScore: number): number {
    const { minP } = this.#options;
    const weights = this.#weights;
    let mass = 0;
    for (let id = 0; id < scores.length; id++) {
      const weight = this.#weight(scores[id] as number, bestScore);
      const kept = weight < minP ? 0 : weight;
      weights[id] = kept;
      mass += kept;
    }
    let target = this.#random.next() * mass;
    let last = 0;
    for (let id = 0; id < weights.length; id++) {
      const weight = weights[id] as number;
      if (weight === 0) continue;
      last = id;
      target -= weight;
      if (target < 0) return id;
    }
    return last;
  }
}

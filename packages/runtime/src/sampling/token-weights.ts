import type { SamplingOptions } from "@flashlm/contracts";
import { Candidates } from "./candidates.js";

/** Best tokens that are sorted at first for top-p; more are only needed for flat distributions. */
const SORTED_COUNT_FIRST = 256;

/**
 * What the filters leave of a distribution: token ids with weights (the best token weighs 1, zeros are left out), and their sum.
 * Memory is allocated once, for the whole vocabulary.
 */
export class TokenWeights {
  /** `ids[0 .. count-1]`: best first where the filters sort, else ascending. */
  readonly ids: Uint32Array;
  readonly weights: Float64Array;
  count = 0;
  /** Sum of the weights. */
  mass = 0;
  readonly #options: SamplingOptions;
  readonly #candidates: Candidates;

  /** @param options - with a temperature above 0. */
  constructor(options: SamplingOptions, vocabularySize: number) {
    this.#options = options;
    this.ids = new Uint32Array(vocabularySize);
    this.weights = new Float64Array(vocabularySize);
    this.#candidates = new Candidates(vocabularySize);
  }

  /** Applies temperature, top-k, top-p and min-p. `bestScore` is the largest of `scores` and finite. */
  select(scores: Float32Array, bestScore: number): void {
    const { topK, topP } = this.#options;
    const limit = topK === 0 ? scores.length : Math.min(topK, scores.length);
    if (topK === 0 && topP === 1) this.#keepUnsorted(scores, bestScore);
    else if (topP === 1 || topK > 0) {
      this.#candidates.selectBest(scores, limit);
      this.#keepSorted(scores, bestScore, this.#weighSorted(scores, bestScore));
    } else this.#keepSorted(scores, bestScore, this.#sortForShare(scores, bestScore, limit));
  }

  /** The token at a point of the distribution, `share` in [0, 1). */
  at(share: number): number {
    let target = share * this.mass;
    for (let index = 0; index < this.count; index++) {
      target -= this.weights[index] as number;
      if (target < 0) return this.ids[index] as number;
    }
    return this.ids[this.count - 1] as number;
  }

  #weight(score: number, bestScore: number): number {
    return score > Number.NEGATIVE_INFINITY ? Math.exp((score - bestScore) / this.#options.temperature) : 0;
  }

  /** Sorts as many candidates as top-p alone needs; returns the weight of all. */
  #sortForShare(scores: Float32Array, bestScore: number, limit: number): number {
    const total = this.#weighAll(scores, bestScore);
    for (let count = Math.min(SORTED_COUNT_FIRST, limit); ; count = Math.min(count * 8, limit)) {
      this.#candidates.selectBest(scores, count);
      if (count === limit || this.#weighSorted(scores, bestScore) >= this.#options.topP * total) return total;
    }
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

  #keep(id: number, weight: number): void {
    this.ids[this.count] = id;
    this.weights[this.count++] = weight;
    this.mass += weight;
  }

  /** Keeps of the sorted candidates; `total` is the weight that top-p is a share of. */
  #keepSorted(scores: Float32Array, bestScore: number, total: number): void {
    const { topP, minP } = this.#options;
    const { ids, count } = this.#candidates;
    this.count = 0;
    this.mass = 0;
    while (this.count < count && (this.count === 0 || this.mass < topP * total || topP === 1)) {
      const id = ids[this.count] as number;
      const weight = this.#weight(scores[id] as number, bestScore);
      // The best token weighs 1.
      if (this.count > 0 && weight < minP) break;
      this.#keep(id, weight);
    }
  }

  /** Without top-k and top-p no order is needed. */
  #keepUnsorted(scores: Float32Array, bestScore: number): void {
    const { minP } = this.#options;
    this.count = 0;
    this.mass = 0;
    for (let id = 0; id < scores.length; id++) {
      const weight = this.#weight(scores[id] as number, bestScore);
      if (weight > 0 && weight >= minP) this.#keep(id, weight);
    }
  }
}

import type { NeuronCache, SparsityPredictor } from "@flashlm/contracts";
import type { ForwardParts } from "./forward.js";
import type { LookAhead } from "./look-ahead.js";
import { TokenUnion } from "./token-union.js";

/**
 * Which neurons a sparse run needs: what the predictor names is looked for in the cache and asked of the device. A single token's neurons
 * of the next layer are guessed, where a head can, and asked for behind this layer's.
 */
export class NeuronDemand {
  readonly #parts: ForwardParts;
  readonly #cache: NeuronCache;
  readonly #predictor: SparsityPredictor;
  readonly #union: TokenUnion;
  /** The next layer's neurons. */
  readonly #nextIds: Uint32Array;
  /** Neurons named so far, over all layers and tokens. */
  namedNeurons = 0;

  constructor(parts: ForwardParts) {
    this.#parts = parts;
    this.#cache = parts.cache;
    this.#predictor = parts.predictor;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#union = new TokenUnion(neuronCount);
    this.#nextIds = new Uint32Array(neuronCount);
  }

  /**
   * Predicts the layer's neurons and asks for their records.
   *
   * @returns What asks for those of the next layer as far as they are known or can be guessed, or null; it runs no program.
   */
  async ask(layerIndex: number, tokenCount: number, windowTokens: number): Promise<(() => void) | null> {
    const { kernels, records, residency } = this.#parts;
    await residency.need(`predictor.${layerIndex}`);
    const program = this.#predictor.scoreProgram(layerIndex);
    const scoring = program ? kernels.run(program) : undefined;
    if (scoring) await scoring;
    this.#parts.checkAbort();
    if (records.lastOpenLayer < layerIndex) await this.#predict(layerIndex, tokenCount, windowTokens);
    const askNext = tokenCount === 1 ? this.#nextOf(layerIndex, windowTokens) : null;
    const ahead = askNext ? this.#predictor.lookAheadProgram?.(layerIndex) : null;
    const scoringAhead = ahead ? kernels.run(ahead) : undefined;
    if (scoringAhead) await scoringAhead;
    residency.done(`predictor.${layerIndex}`);
    return askNext;
  }

  #nextOf(layerIndex: number, windowTokens: number): (() => void) | null {
    const { bundle, lookAhead, lookAheadIsExact } = this.#parts;
    if (lookAheadIsExact) {
      const isLast = layerIndex + 1 === bundle.manifest.layers.length;
      return isLast ? null : () => this.#askAhead(layerIndex + 1, windowTokens);
    }
    return lookAhead?.wants(layerIndex + 1) ? () => this.#guess(lookAhead, layerIndex + 1) : null;
  }

  async #predict(layerIndex: number, tokenCount: number, windowTokens: number): Promise<void> {
    const { lookAhead, records, state } = this.#parts;
    const { mask } = state;
    this.namedNeurons += this.#predictor.predictInto(layerIndex, tokenCount, { mask: mask.bytes });
    const count = this.#union.of(mask.bytes, tokenCount, windowTokens);
    const scores = tokenCount === 1 ? this.#predictor.scores?.(layerIndex) : undefined;
    if (scores) this.#cache.foresee?.(layerIndex, scores);
    const { ids, steps } = this.#union;
    const early = lookAhead?.expect(layerIndex, ids, count) ?? null;
    if (lookAhead && !this.#cache.guessesOverlap) {
      await lookAhead.land(layerIndex);
      lookAhead.end();
    }
    if (windowTokens > 0 && tokenCount > 1) records.begin(layerIndex, ids, count, "window", { steps });
    else records.begin(layerIndex, ids, count, windowTokens > 0 ? "window" : "none", { early });
  }

  /** Where the layer before says what is computed, its reads go on while that one's FFN and this attention are computed; nothing is left to be read later. */
  #askAhead(layerIndex: number, windowTokens: number): void {
    const count = this.#foretell(layerIndex, 0);
    this.namedNeurons += count;
    const admit = windowTokens > 0 ? "window" : "none";
    this.#parts.records.begin(layerIndex, this.#nextIds, count, admit);
  }

  /** The same with a guess, behind the demand of the layer before: reads that may turn out to be in vain, or not to be all. */
  #guess(lookAhead: LookAhead, layerIndex: number): void {
    const count = this.#foretell(layerIndex, lookAhead.margin(layerIndex));
    lookAhead.guess(layerIndex, this.#nextIds, count);
  }

  /** Lists what the layer before names of this one, and tells the cache the scores. */
  #foretell(layerIndex: number, margin: number): number {
    const count = this.#predictor.lookAheadInto?.(layerIndex - 1, this.#nextIds, margin) ?? 0;
    const scores = this.#predictor.lookAheadScores?.(layerIndex - 1);
    if (scores) this.#cache.foresee?.(layerIndex, scores);
    return count;
  }
}

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
  readonly #guessMask: Uint8Array;
  /** Layer whose scores of this token the cache has been told already, or -1. */
  #foreseenLayer = -1;
  /** Layer whose neurons are those in `#union`, as an exact guess named them, and how many they are; or -1. */
  #knownLayer = -1;
  #knownCount = 0;
  /** Neurons named so far, over all layers and tokens. */
  namedNeurons = 0;

  constructor(parts: ForwardParts) {
    this.#parts = parts;
    this.#cache = parts.cache;
    this.#predictor = parts.predictor;
    const { neuronCount } = parts.bundle.manifest.model.ffn;
    this.#union = new TokenUnion(neuronCount);
    this.#guessMask = new Uint8Array(parts.lookAhead ? neuronCount : 0);
  }

  /** Before a pass: what was guessed for another one is not known of this one. */
  startPass(): void {
    this.#knownLayer = -1;
  }

  /**
   * Predicts the layer's neurons and asks for their records.
   *
   * @returns What asks for those of the next layer as far as they can be guessed, or null; it runs no program.
   */
  async ask(layerIndex: number, tokenCount: number, windowTokens: number): Promise<(() => void) | null> {
    const { kernels, lookAhead, records, residency } = this.#parts;
    await residency.need(`predictor.${layerIndex}`);
    const program = this.#predictor.scoreProgram(layerIndex);
    const scoring = program ? kernels.run(program) : undefined;
    if (scoring) await scoring;
    this.#parts.checkAbort();
    if (records.lastOpenLayer < layerIndex) await this.#predict(layerIndex, tokenCount, windowTokens);
    this.#foreseenLayer = -1;
    let guess: (() => void) | null = null;
    if (tokenCount === 1 && lookAhead?.wants(layerIndex + 1)) {
      const ahead = this.#predictor.lookAheadProgram?.(layerIndex);
      const scoringAhead = ahead ? kernels.run(ahead) : undefined;
      if (scoringAhead) await scoringAhead;
      guess = () => this.#guess(lookAhead, layerIndex);
    }
    residency.done(`predictor.${layerIndex}`);
    return guess;
  }

  /** Where the guess of a single token's neurons is what they are, their records are asked for before its attention has been computed. */
  askKnown(layerIndex: number, windowTokens: number): void {
    if (this.#knownLayer !== layerIndex) return;
    const { lookAhead, records } = this.#parts;
    const { ids } = this.#union;
    const count = this.#knownCount;
    this.#knownLayer = -1;
    this.namedNeurons += count;
    const early = lookAhead?.expect(layerIndex, ids, count) ?? null;
    records.begin(layerIndex, ids, count, windowTokens > 0 ? "window" : "none", { early });
  }

  async #predict(layerIndex: number, tokenCount: number, windowTokens: number): Promise<void> {
    const { lookAhead, records, state } = this.#parts;
    const { mask } = state;
    this.namedNeurons += this.#predictor.predictInto(layerIndex, tokenCount, { mask: mask.bytes });
    const count = this.#union.of(mask.bytes, tokenCount, windowTokens);
    const isToldAlready = this.#foreseenLayer === layerIndex;
    const scores = tokenCount === 1 && !isToldAlready ? this.#predictor.scores?.(layerIndex) : undefined;
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

  /** Behind this layer's demand, reads for the next one, which go on while this FFN and the next attention are computed. */
  #guess(lookAhead: LookAhead, layerIndex: number): void {
    const margin = lookAhead.margin(layerIndex + 1);
    this.#predictor.lookAheadInto?.(layerIndex, 1, { mask: this.#guessMask }, margin);
    const scores = this.#predictor.lookAheadScores?.(layerIndex);
    if (scores) this.#cache.foresee?.(layerIndex + 1, scores);
    this.#foreseenLayer = this.#parts.lookAheadIsExact ? layerIndex + 1 : -1;
    const count = this.#union.of(this.#guessMask, 1, 0);
    lookAhead.guess(layerIndex + 1, this.#union.ids, count);
    if (!this.#parts.lookAheadIsExact || margin !== 0 || !this.#cache.guessesOverlap) return;
    this.#knownLayer = layerIndex + 1;
    this.#knownCount = count;
  }
}

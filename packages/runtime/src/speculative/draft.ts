import type { TokenId } from "@flashlm/contracts";
import type { Engine } from "../engine.js";
import type { TokenSampler } from "../engine-options.js";
import type { RandomSource } from "../sampling/random.js";
import { drawToken } from "./rejection.js";

/** What a draft's tokens are drawn with. */
export interface DraftSampling {
  readonly sampler: Required<TokenSampler>;
  readonly random: RandomSource;
  /** Nothing is drafted after one of these. */
  readonly stopTokens: readonly TokenId[];
}

/** The smaller model, which follows the target's sequence and guesses how it goes on. */
export class Draft {
  readonly #engine: Engine;
  readonly #distributions: readonly Float32Array[];
  /** Tokens of the sequence whose keys and values it has. */
  #length = 0;
  #entered = false;

  /** @param distributions - receives that of each drafted token, f32 `[vocabularySize]`. */
  constructor(engine: Engine, distributions: readonly Float32Array[]) {
    this.#engine = engine;
    this.#distributions = distributions;
  }

  /** Begins a sequence; a prompt that fills the draft's context is left to the target alone. */
  async begin(prompt: readonly TokenId[], lengthMax: number): Promise<void> {
    if (prompt.length >= this.#engine.contextLength) return;
    this.#engine.enter(prompt, lengthMax);
    this.#entered = true;
    await this.#engine.prompt(prompt);
    this.#length = prompt.length;
  }

  /**
   * Guesses up to `limit` tokens that follow the sequence, fewer at the end of the draft's context.
   *
   * @param sequence - prompt and tokens so far.
   */
  async propose(
    sequence: readonly TokenId[],
    limit: number,
    { sampler, random, stopTokens }: DraftSampling,
  ): Promise<TokenId[]> {
    const drafted: TokenId[] = [];
    const count = this.#entered ? Math.min(limit, this.#engine.contextLength - sequence.length + 1) : 0;
    if (count <= 0) return drafted;
    const longer = [...sequence];
    await this.#engine.measure(async () => {
      while (drafted.length < count) {
        await this.#follow(longer);
        const distribution = this.#distributions[drafted.length] as Float32Array;
        sampler.weigh(this.#engine.logits(0), longer, distribution);
        const token = drawToken(distribution, random);
        drafted.push(token);
        longer.push(token);
        if (stopTokens.includes(token)) break;
      }
      return drafted.length;
    });
    return drafted;
  }

  /** Forgets what lies beyond the sequence's first `length` tokens. */
  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  leave(finished: boolean): void {
    if (this.#entered) this.#engine.leave(finished);
    this.#entered = false;
  }

  /** Runs the tokens it does not have yet, and makes the logits of the last. */
  async #follow(sequence: readonly TokenId[]): Promise<void> {
    const { tokenCapacity } = this.#engine.plan;
    let chunk: readonly TokenId[] = [];
    while (this.#length < sequence.length) {
      chunk = sequence.slice(this.#length, this.#length + tokenCapacity);
      await this.#engine.extend(chunk, this.#length, chunk.length);
      this.#length += chunk.length;
    }
    await this.#engine.head(chunk.length - 1, 1);
  }
}

import {
  FlashlmError,
  type GenerateOptions,
  type GeneratorReport,
  type TokenEvent,
  type TokenGenerator,
  type TokenId,
} from "@flashlm/contracts";
import { type Engine, openEngine } from "../engine.js";
import type { EngineOptions, EngineParts, TokenSampler } from "../engine-options.js";
import { createRandomSource } from "../sampling/random.js";
import { createDistributions, type Distributions } from "./distributions.js";
import { Draft, type DraftSampling } from "./draft.js";
import { DRAFT_TOKENS, DRAFT_TOKENS_MAX } from "./draft-tokens.js";
import { drawToken } from "./rejection.js";
import { combineReports } from "./report.js";
import { verifyDraft } from "./verification.js";
import { WindowRule } from "./window-rule.js";

/** What an engine is made from. */
export interface EngineRecipe {
  readonly parts: EngineParts;
  readonly options: EngineOptions;
}

/**
 * Makes a generator for two models on the calling thread: the draft guesses `options.draftTokens` of the target's options tokens, the target
 * verifies them in one pass. Tokens are distributed as the target's own, and greedy ones are the same; sampled ones differ from those
 * of the target alone with the same seed, because more random numbers are drawn. Each model has its own memory.
 *
 * @param target - its options' `draftTokens`, 1 to {@link DRAFT_TOKENS_MAX}, count in its memory plan; {@link DRAFT_TOKENS} if absent.
 * @throws ENGINE_DRAFT when the vocabularies differ; ENGINE_OPTION; what making an engine throws.
 */
export async function createSpeculativeEngine(
  target: EngineRecipe,
  draft: EngineRecipe,
): Promise<TokenGenerator> {
  const draftTokens = target.options.draftTokens ?? DRAFT_TOKENS;
  checkDraft(target.parts, draft.parts, draftTokens);
  const large = await openEngine(target.parts, { ...target.options, draftTokens });
  try {
    const small = await openEngine(draft.parts, draft.options);
    return new SpeculativeEngine(target.parts, large, small, draftTokens, describeDraft(draft.parts, small));
  } catch (error) {
    await large.close();
    throw error;
  }
}

function checkDraft(target: EngineParts, draft: EngineParts, draftTokens: number): void {
  if (!Number.isInteger(draftTokens) || draftTokens < 1 || draftTokens > DRAFT_TOKENS_MAX)
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected 1 to ${DRAFT_TOKENS_MAX} draft tokens but received ${draftTokens}.`,
      { draftTokens },
    );
  const [expected, actual] = [target, draft].map(({ bundle }) => bundle.manifest.model.vocabularySize);
  if (expected !== actual)
    throw new FlashlmError(
      "ENGINE_DRAFT",
      `Expected a draft model with the target's vocabulary of ${expected} tokens but it has ${actual}. Use a smaller model of the same family.`,
      { expectedTokenCount: expected, actualTokenCount: actual },
    );
}

function describeDraft({ bundle, predictor }: EngineParts, { contextLength }: Engine): string {
  const { dtype, source } = bundle.manifest;
  return `${source.name} ${dtype} ${predictor.name}, context ${contextLength}`;
}

class SpeculativeEngine implements TokenGenerator {
  readonly contractVersion = 1;
  readonly mode: Readonly<Record<string, string>>;
  readonly contextLength: number;
  readonly #parts: EngineParts;
  readonly #target: Engine;
  readonly #small: Engine;
  readonly #draft: Draft;
  readonly #draftTokens: number;
  readonly #distributions: Distributions;
  readonly #rule = new WindowRule();
  #passCount = 0;
  #proposedTokens = 0;
  #acceptedTokens = 0;

  constructor(parts: EngineParts, target: Engine, small: Engine, draftTokens: number, draftName: string) {
    this.#parts = parts;
    this.#target = target;
    this.#small = small;
    this.#draftTokens = draftTokens;
    this.#distributions = createDistributions(target.vocabularySize, draftTokens);
    this.#draft = new Draft(small, this.#distributions.drafted);
    this.mode = { ...target.mode, draft: `${draftName}, ${draftTokens} tokens` };
    this.contextLength = target.contextLength;
  }

  async *generate(promptTokens: readonly TokenId[], options: GenerateOptions): AsyncIterable<TokenEvent> {
    const { maxTokens, stopTokens, signal } = options;
    const sampling = this.#sampling(options);
    const lengthMax = promptTokens.length + maxTokens;
    this.#target.enter(promptTokens, lengthMax);
    let finished = false;
    try {
      const start = performance.now();
      const sequence = [...promptTokens];
      if (maxTokens > 0) await this.#begin(sequence, lengthMax, sampling);
      for (let position = promptTokens.length; position < lengthMax; position++) {
        // The token at the end of the context is the last one: it has no place in the caches.
        if (position > this.contextLength) break;
        if (position === sequence.length) await this.#pass(sequence, lengthMax, sampling);
        signal?.throwIfAborted();
        const tokenId = sequence[position] as TokenId;
        if (stopTokens.includes(tokenId)) break;
        yield { tokenId, positionIndex: position, elapsedMs: performance.now() - start };
      }
      finished = true;
    } finally {
      this.#target.leave(finished);
      this.#draft.leave(finished);
    }
  }

  evaluate(
    tokens: readonly TokenId[],
    onLogits: (rows: Float32Array, firstRow: number) => void,
  ): Promise<void> {
    return this.#target.evaluate(tokens, onLogits);
  }

  score(tokens: readonly TokenId[]): Promise<Float64Array> {
    return this.#target.score(tokens);
  }

  report(): GeneratorReport {
    return combineReports(this.#target.report(), this.#small.report(), {
      passCount: this.#passCount,
      proposedTokens: this.#proposedTokens,
      acceptedTokens: this.#acceptedTokens,
    });
  }

  async close(): Promise<void> {
    await this.#target.close();
    await this.#small.close();
  }

  #sampling({ sampling, stopTokens }: GenerateOptions): DraftSampling {
    const sampler: TokenSampler = this.#parts.createSampler(sampling, this.#target.vocabularySize);
    if (!canWeigh(sampler))
      throw new FlashlmError(
        "ENGINE_OPTION",
        "Expected a sampler that tells probabilities (weigh) but the given one only draws. Use the runtime's own with a draft model.",
      );
    return { sampler, random: createRandomSource(sampling.seed), stopTokens };
  }

  /** Both prompts, and the first token. */
  async #begin(sequence: TokenId[], lengthMax: number, sampling: DraftSampling): Promise<void> {
    await this.#target.prompt(sequence);
    await this.#draft.begin(sequence, lengthMax);
    const { target } = this.#distributions;
    sampling.sampler.weigh(this.#target.logits(0), sequence, target);
    sequence.push(drawToken(target, sampling.random));
  }

  /** Drafts and verifies; appends at least one token. */
  #pass(sequence: TokenId[], lengthMax: number, sampling: DraftSampling): Promise<void> {
    const room = Math.min(lengthMax - 1, this.contextLength) - sequence.length;
    return this.#target.measure(async () => {
      const before = sequence.length;
      const drafted = await this.#draft.propose(sequence, Math.min(this.#draftTokens, room), sampling);
      const passTokens = drafted.length + 1;
      const windowTokens = this.#rule.windowTokens(passTokens);
      const accepted = await verifyDraft(
        this.#target,
        sequence,
        drafted,
        windowTokens,
        this.#distributions,
        sampling,
      );
      this.#draft.truncate(before + accepted);
      this.#rule.observe(accepted + 1, passTokens);
      this.#passCount++;
      this.#proposedTokens += drafted.length;
      this.#acceptedTokens += accepted;
      return sequence.length - before;
    });
  }
}

function canWeigh(sampler: TokenSampler): sampler is Required<TokenSampler> {
  return sampler.weigh !== undefined;
}

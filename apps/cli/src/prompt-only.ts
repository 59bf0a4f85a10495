import type { SamplingOptions, TokenGenerator } from "@flashlm/contracts";

const GREEDY: SamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

/** Runs tokens through every layer and draws none, so that the head's logits of each token are not computed. */
export async function promptOnly(engine: TokenGenerator, tokens: readonly number[]): Promise<void> {
  for await (const _ of engine.generate(tokens, { maxTokens: 0, stopTokens: [], sampling: GREEDY }));
}

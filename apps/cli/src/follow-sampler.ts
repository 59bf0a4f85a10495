import { FlashlmError } from "@flashlm/contracts";
import type { EngineParts } from "@flashlm/runtime";

/** Makes samplers that choose given tokens in order, and what `create`'s choose after the last: so that a run takes the time of a text. */
export function followSampler(
  tokens: readonly number[],
  create: EngineParts["createSampler"],
): EngineParts["createSampler"] {
  return (options, vocabularySize) => {
    const wrong = tokens.find((token) => token >= vocabularySize);
    if (wrong !== undefined)
      throw new FlashlmError(
        "ENGINE_OPTION",
        `Expected --follow to name tokens below ${vocabularySize} but received ${wrong}.`,
        { token: wrong, vocabularySize },
      );
    const sampler = create(options, vocabularySize);
    let taken = 0;
    return {
      next: (logits, recentTokens) => tokens[taken++] ?? sampler.next(logits, recentTokens),
    };
  };
}

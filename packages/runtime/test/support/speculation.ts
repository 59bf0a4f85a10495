import type { BundleIndex, TokenGenerator } from "@flashlm/contracts";
import { createSpeculativeEngine, type EngineRecipe } from "@flashlm/runtime";
import { type Mix, partsOf } from "./engines.js";

/** What `engineOf` makes an engine of. */
export function recipeOf(bundle: BundleIndex, mix: Mix): EngineRecipe {
  const options = {
    memoryBytes: Number.POSITIVE_INFINITY,
    contextLength: 256,
    threadCount: 2,
    ...mix.options,
  };
  return { parts: partsOf(bundle, mix), options };
}

/** An engine of a target with a draft model, on this thread. The caller closes it. */
export function speculativeOf(
  target: readonly [BundleIndex, Mix],
  draft: readonly [BundleIndex, Mix],
  draftTokens: number,
): Promise<TokenGenerator> {
  const { parts, options } = recipeOf(...target);
  return createSpeculativeEngine({ parts, options: { ...options, draftTokens } }, recipeOf(...draft));
}

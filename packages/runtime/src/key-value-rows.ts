import { type BundleIndex, layerWindow, type ModelConfig, rowBytes } from "@flashlm/contracts";
import type { PlanChoices } from "./plan-sizes.js";
import { DRAFT_TOKENS_MAX } from "./speculative/draft-tokens.js";

/**
 * How many positions' keys and values a layer keeps: all of the context, or a ring that is as long as its window and the tokens that go
 * through it together, whose first still sees a whole window when the last is stored. A sequence may also go back by fewer than
 * {@link DRAFT_TOKENS_MAX} tokens (guesses that were rejected): what these overwrote lies before every window that is still to come.
 */
export function keyValueRowCount(
  model: ModelConfig,
  layerIndex: number,
  { contextLength, tokenCapacity }: Pick<PlanChoices, "contextLength" | "tokenCapacity">,
): number {
  const window = layerWindow(model, layerIndex);
  if (window === null) return contextLength;
  return Math.min(contextLength, window + Math.max(tokenCapacity, DRAFT_TOKENS_MAX) - 1);
}

/** Bytes of keys and values, all layers. */
export function keyValueBytes(
  bundle: BundleIndex,
  choices: Pick<PlanChoices, "cacheDtype" | "contextLength" | "tokenCapacity">,
): number {
  const { layers, model } = bundle.manifest;
  const { headDim, keyValueHeadCount } = model.attention;
  const rowCount = layers.reduce((total, _, index) => total + keyValueRowCount(model, index, choices), 0);
  return 2 * rowCount * rowBytes(choices.cacheDtype, keyValueHeadCount * headDim);
}

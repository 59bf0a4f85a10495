import type { TokenId } from "@flashlm/contracts";
import type { RandomSource } from "../sampling/random.js";

/** Draws a token by its weight; weights need not sum up to 1. */
export function drawToken(weights: ArrayLike<number>, random: RandomSource): TokenId {
  let mass = 0;
  for (let id = 0; id < weights.length; id++) mass += weights[id] as number;
  let left = random.next() * mass;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] as number;
    if (!(weight > 0)) continue;
    last = id;
    left -= weight;
    if (left < 0) return id;
  }
  return last;
}

/**
 * The rule of speculative sampling (Leviathan et al., arXiv 2211.17192, section 2.3): a token drawn from `drafted` stays with
 * probability `min(1, target / drafted)`; otherwise one is drawn from what `target` has above `drafted`. The result is distributed as
 * `target`, whatever `drafted` is.
 *
 * @param token - drawn from `drafted`.
 * @param drafted - probabilities `[vocabularySize]`; overwritten when the token is rejected.
 * @param target - probabilities `[vocabularySize]`.
 * @returns the same token if it stays, otherwise the one that takes its place.
 */
export function acceptOrReplace(
  token: TokenId,
  drafted: Float32Array,
  target: Float64Array,
  random: RandomSource,
): { readonly token: TokenId; readonly accepted: boolean } {
  if (random.next() * (drafted[token] as number) < (target[token] as number))
    return { token, accepted: true };
  let mass = 0;
  for (let id = 0; id < target.length; id++) {
    const above = Math.max(0, (target[id] as number) - (drafted[id] as number));
    drafted[id] = above;
    mass += drafted[id] as number;
  }
  // Nothing is above where both are the same but for rounding.
  return { token: drawToken(mass > 0 ? drafted : target, random), accepted: false };
}

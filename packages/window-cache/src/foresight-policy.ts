import type { CacheOptions, PolicyView, ResidencyPolicy } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { VictimSelector } from "./select-victims.js";
import { windowPolicy } from "./window-policy.js";

/** Share of a token's scores in the outlook. From 0.2 to 0.7 a synthetic OPT-6.7B reads within 1.5 % as much (docs/decisions/0021-foresight.md). */
export const FORESIGHT_SHARE = 0.3;
/** Scores beyond this, and those that are no numbers, count as this: sums of them must stay finite. */
const SCORE_LIMIT = 1e30;

/** How the foresight policy is made. */
export interface ForesightPolicyOptions {
  /** Share of a token's scores in the outlook, above 0 and at most 1: at 1 only the last token counts. */
  readonly share: number;
}

/** What the predictor's scores say of a layer's units. */
interface Outlook {
  /** Mean of each unit's scores that forgets; `[unitCount]`. */
  readonly mean: Float32Array;
  /** Token of the last scores, or -1. */
  token: number;
}

/**
 * Gives up the units that the predictor thinks least of. It scores every neuron for every token to know which ones fire; a neuron that
 * just missed its threshold is likelier to be named soon than one far below it, which no count of uses can tell. Units are ranked by the
 * mean of their scores, where each token has a share and earlier ones ever less. Where scores are absent or old (prompts, drafts, predictors
 * that do not score), {@link windowPolicy} decides. Holds 4 bytes per unit.
 *
 * @throws CACHE_RANGE for a share that is not above 0 and at most 1.
 */
export function foresightPolicy(
  cache: Pick<CacheOptions, "layers">,
  { share }: ForesightPolicyOptions = { share: FORESIGHT_SHARE },
): ResidencyPolicy {
  if (!(share > 0 && share <= 1)) {
    throw new FlashlmError("CACHE_RANGE", `Expected a share above 0 and at most 1 but received ${share}.`, {
      share,
    });
  }
  return new ForesightPolicy(cache.layers, share);
}

class ForesightPolicy implements ResidencyPolicy {
  readonly name = "foresight";
  readonly #outlooks: readonly Outlook[];
  readonly #selector: VictimSelector;
  readonly #share: number;

  constructor(layers: CacheOptions["layers"], share: number) {
    this.#outlooks = layers.map(({ unitCount }) => ({ mean: new Float32Array(unitCount), token: -1 }));
    this.#selector = new VictimSelector(Math.max(0, ...layers.map(({ slotCount }) => slotCount)));
    this.#share = share;
  }

  foresee({ layerIndex }: PolicyView, token: number, scores: Float32Array): void {
    const outlook = this.#outlooks[layerIndex]!;
    const { mean } = outlook;
    // After a gap the old mean is of another part of the text.
    const share = isFresh(outlook, token) ? this.#share : 1;
    outlook.token = token;
    blend(mean, scores, share);
  }

  chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number {
    const outlook = this.#outlooks[view.layerIndex]!;
    if (!isFresh(outlook, token)) return windowPolicy.chooseVictims(view, token, neededCount, target);
    this.#selector.offer(view, token, outlook.mean);
    return this.#selector.take(Math.min(neededCount, target.length, this.#selector.count), target);
  }
}

/**
 * Moves each mean towards its score. A function that ends with its loop: engines that compile a loop while it runs leave that code at the loop's end, and one that
 * has more to do goes on uncompiled, for every call again.
 */
function blend(mean: Float32Array, scores: Float32Array, share: number): void {
  for (let unit = 0; unit < mean.length; unit++) {
    const score = scores[unit]!;
    const finite = Math.abs(score) <= SCORE_LIMIT ? score : score < 0 ? -SCORE_LIMIT : SCORE_LIMIT;
    mean[unit]! += share * (finite - mean[unit]!);
  }
}

/** Whether the outlook is of this token, or of the one before: a guess comes before its token's scores. */
function isFresh(outlook: Outlook, token: number): boolean {
  return outlook.token >= 0 && token - outlook.token <= 1;
}

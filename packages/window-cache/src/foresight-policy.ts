import type { CacheOptions, PolicyView, ResidencyPolicy } from "@flashlm/contracts";
import { FlashlmError, NO_SLOT } from "@flashlm/contracts";
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

/** What the predictor's scores say of the units that have a layer's slots. */
interface Outlook {
  /** By slot: mean of its unit's scores that forgets, since it came; and the unit. */
  readonly mean: Float32Array;
  readonly unit: Uint32Array;
  /** Token of the last scores, or -1. */
  token: number;
}

/**
 * Gives up the units that the predictor thinks least of. It scores every neuron for every token to know which ones fire; a neuron that
 * just missed its threshold is likelier to be named soon than one far below it, which no count of uses can tell. Units are ranked by the
 * mean of their scores since they took their slot, where each token has a share and earlier ones ever less. Where scores are absent or old (prompts,
 * drafts, predictors that do not score), {@link windowPolicy} decides. Holds 8 bytes per slot: a layer's slots are few beside its units, and little of
 * them is in a processor's cache when the layer's turn comes again.
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
    this.#outlooks = layers.map(({ slotCount }) => ({
      mean: new Float32Array(slotCount),
      unit: new Uint32Array(slotCount).fill(NO_SLOT),
      token: -1,
    }));
    this.#selector = new VictimSelector(Math.max(0, ...layers.map(({ slotCount }) => slotCount)));
    this.#share = share;
  }

  foresee({ layerIndex, unitBySlot }: PolicyView, token: number, scores: Float32Array): void {
    const outlook = this.#outlooks[layerIndex]!;
    // After a gap the old mean is of another part of the text.
    const share = isFresh(outlook, token) ? this.#share : 1;
    outlook.token = token;
    blend(outlook, unitBySlot, scores, share);
  }

  chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number {
    const outlook = this.#outlooks[view.layerIndex]!;
    if (!isFresh(outlook, token)) return windowPolicy.chooseVictims(view, token, neededCount, target);
    keepNewcomers(outlook, view.unitBySlot);
    this.#selector.offerBySlot(view, token, outlook.mean);
    return this.#selector.take(Math.min(neededCount, target.length, this.#selector.count), target);
  }
}

/**
 * Moves each mean towards its unit's score; that of a unit which has come since then begins with it. A function that ends with its loop: engines that compile a loop
 * while it runs leave that code at the loop's end, and one that has more to do goes on uncompiled, for every call again.
 */
function blend({ mean, unit }: Outlook, unitBySlot: Uint32Array, scores: Float32Array, share: number): void {
  for (let slot = 0; slot < mean.length; slot++) {
    const now = unitBySlot[slot]!;
    if (now === NO_SLOT) continue;
    const score = scores[now]!;
    const finite = Math.abs(score) <= SCORE_LIMIT ? score : score < 0 ? -SCORE_LIMIT : SCORE_LIMIT;
    const before = unit[slot] === now ? mean[slot]! : finite;
    mean[slot] = before + share * (finite - before);
    unit[slot] = now;
  }
}

/** Units that came after the last scores: nothing is known of them but that they were wanted, so they go last. */
function keepNewcomers({ mean, unit }: Outlook, unitBySlot: Uint32Array): void {
  for (let slot = 0; slot < mean.length; slot++) {
    if (unit[slot] === unitBySlot[slot]) continue;
    mean[slot] = Number.POSITIVE_INFINITY;
    unit[slot] = NO_SLOT;
  }
}

/** Whether the outlook is of this token, or of the one before: a guess comes before its token's scores. */
function isFresh(outlook: Outlook, token: number): boolean {
  return outlook.token >= 0 && token - outlook.token <= 1;
}

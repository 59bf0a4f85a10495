import type { CacheOptions, PolicyView, ResidencyPolicy } from "@flashlm/contracts";
import { FlashlmError, NO_SLOT } from "@flashlm/contracts";
import { VictimSelector } from "./select-victims.js";

/** Tokens after which a use counts half, by default. Traces of up to 96 tokens did not tell 16, 64 and 256 apart (docs/decisions/0009-cache-policies.md). */
export const HALF_LIFE_TOKENS = 64;
/** Weights grow with every token; beyond this all scores are scaled down, so that they stay finite. */
const WEIGHT_MAX = 1e60;

/** How the frequency policy is made. */
export interface LfuPolicyOptions {
  /** Tokens after which a use counts half. A short one forgets like LRU, a long one counts like LFU. */
  readonly halfLifeTokens: number;
}

/** What is known of a layer's units. */
interface LayerScores {
  readonly pinnedCount: number;
  /** Sum over uses of the weight that the token of the use had. */
  readonly scoreByUnit: Float64Array;
  /** Scores of this token's misses. */
  readonly missScores: Float64Array;
  missCount: number;
}

/**
 * Least frequently used with decay (the combined recency and frequency of LRFU, Lee et al. 2001): a unit's score is the sum
 * over its uses of `0.5 ** (age / halfLifeTokens)`, also while it has no slot. The lowest scores go first, but only
 * for misses that score higher: a rare neuron is read and dropped rather than put in a frequent one's place.
 * Holds 16 bytes per unit.
 *
 * @throws CACHE_RANGE for a half-life that is not above 0.
 */
export function lfuPolicy(
  cache: Pick<CacheOptions, "layers">,
  { halfLifeTokens }: LfuPolicyOptions = { halfLifeTokens: HALF_LIFE_TOKENS },
): ResidencyPolicy {
  if (!(halfLifeTokens > 0)) {
    throw new FlashlmError(
      "CACHE_RANGE",
      `Expected a half-life above 0 tokens but received ${halfLifeTokens}.`,
      { halfLifeTokens },
    );
  }
  return new LfuPolicy(cache.layers, 2 ** (1 / halfLifeTokens));
}

class LfuPolicy implements ResidencyPolicy {
  readonly name = "lfu";
  readonly #layers: readonly LayerScores[];
  readonly #selector: VictimSelector;
  readonly #victimScores: Float64Array;
  readonly #growth: number;
  #token = 0;
  /** Weight of a use at the current token. Growing it is the same as shrinking every score. */
  #weight = 1;

  constructor(layers: CacheOptions["layers"], growth: number) {
    const slotCountMax = Math.max(0, ...layers.map((layer) => layer.slotCount));
    this.#layers = layers.map(({ unitCount, pinnedCount }) => ({
      pinnedCount,
      scoreByUnit: new Float64Array(unitCount),
      missScores: new Float64Array(unitCount),
      missCount: 0,
    }));
    this.#selector = new VictimSelector(slotCountMax);
    this.#victimScores = new Float64Array(slotCountMax);
    this.#growth = growth;
  }

  observe(view: PolicyView, token: number, ids: Uint32Array, count: number): void {
    this.#advance(token);
    const layer = this.#layers[view.layerIndex]!;
    const { scoreByUnit, missScores, pinnedCount } = layer;
    layer.missCount = 0;
    for (let position = 0; position < count; position++) {
      const id = ids[position]!;
      const score = scoreByUnit[id]! + this.#weight;
      scoreByUnit[id] = score;
      if (id >= pinnedCount && view.slotByUnit[id] === NO_SLOT) missScores[layer.missCount++] = score;
    }
  }

  chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number {
    const layer = this.#layers[view.layerIndex]!;
    const selector = this.#selector;
    selector.offerByUnit(view, token, layer.scoreByUnit);
    const mostCount = Math.min(neededCount, target.length, selector.count);
    selector.select(mostCount);
    const victims = this.#victimScores.subarray(0, mostCount);
    for (let index = 0; index < mostCount; index++)
      victims[index] = layer.scoreByUnit[view.unitBySlot[selector.slot(index)]!]!;
    const victimCount = countWorthwhile(layer.missScores.subarray(0, layer.missCount), victims);
    return selector.take(victimCount, target);
  }

  #advance(token: number): void {
    while (this.#token < token) {
      this.#token++;
      this.#weight *= this.#growth;
      if (this.#weight > WEIGHT_MAX) {
        for (const { scoreByUnit } of this.#layers)
          for (let unit = 0; unit < scoreByUnit.length; unit++) scoreByUnit[unit]! /= this.#weight;
        this.#weight = 1;
      }
    }
  }
}

/** How many victims are outscored by a miss: the best miss against the worst victim, and so on. Sorts both. */
function countWorthwhile(misses: Float64Array, victims: Float64Array): number {
  misses.sort();
  victims.sort();
  const most = Math.min(misses.length, victims.length);
  let count = 0;
  while (count < most && misses[misses.length - 1 - count]! > victims[count]!) count++;
  return count;
}

import { type CachePart, FlashlmError } from "@flashlm/contracts";
import { compactCache } from "./compact-cache.js";
import { FORESIGHT_SHARE, foresightPolicy } from "./foresight-policy.js";
import { HALF_LIFE_TOKENS, lfuPolicy } from "./lfu-policy.js";
import { lruPolicy } from "./lru-policy.js";
import { slotMapCache, slotMapCacheWith } from "./slot-map-cache.js";

/** A cache as an option names it: the part, and how much of each layer's slots is pinned. */
export interface CacheChoice {
  readonly name: string;
  readonly part: CachePart;
  /** Share of the slots that the first (hottest) units keep for good; null leaves it to the memory plan. */
  readonly pinnedShare: number | null;
}

/** Half of the slots pinned: the hybrid's default. */
const HYBRID_SHARE = 0.5;

/** Spellings of {@link parseCache}, for messages and help. */
export const CACHE_CHOICES =
  "auto | window | foresight[:SHARE] | compact | lru | lfu[:HALF_LIFE] | pinned | hybrid[:SHARE]";

/** What a cache is made for. */
export interface CacheUse {
  /** false: the predictor never says what it thinks of neurons (a dense one). Default true. */
  readonly hasScores?: boolean;
}

/**
 * Reads a cache option.
 *
 * - `auto`: a slot map with pins by the memory plan; the units that the predictor thinks least of go first, or those outside the window where it does not say
 * - `window` (or `slot-map`), `compact`, `lru`, `lfu:64` (half-life in tokens): that cache, nothing pinned
 * - `foresight:0.3`: what the predictor thinks least of goes first; the share is that of a token's scores in what is thought
 * - `pinned`: every slot belongs to one of the hottest units for good
 * - `hybrid:0.5`: that share of the slots is pinned, the rest follows the window policy
 *
 * Without scores foresight would leave every choice to the window policy: the cache is that one then, and says so by its name.
 *
 * @throws ENGINE_OPTION for anything else, or a number out of range.
 */
export function parseCache(text: string, { hasScores = true }: CacheUse = {}): CacheChoice {
  const [kind = "", amount, ...rest] = text.split(":");
  const value = amount === undefined || amount.trim() === "" ? null : Number(amount);
  const plain = amount === undefined;
  const choice = (part: CachePart, pinnedShare: number | null): CacheChoice => ({
    name: text,
    part,
    pinnedShare,
  });
  const foresight = (share: number): CachePart =>
    hasScores
      ? slotMapCacheWith(
          (options) => foresightPolicy(options, { share }),
          `slot-map:${text === "auto" ? "foresight" : text}`,
        )
      : slotMapCache;
  if (rest.length === 0 && plain && kind === "auto") return choice(foresight(FORESIGHT_SHARE), null);
  if (rest.length === 0 && plain && (kind === "window" || kind === "slot-map"))
    return choice(slotMapCache, 0);
  if (rest.length === 0 && plain && kind === "compact") return choice(compactCache, 0);
  if (rest.length === 0 && plain && kind === "lru")
    return choice(slotMapCacheWith(lruPolicy, "slot-map:lru"), 0);
  if (rest.length === 0 && plain && kind === "pinned") return choice(slotMapCache, 1);
  if (rest.length === 0 && kind === "lfu" && (plain || (value !== null && value > 0 && value <= 1e6))) {
    const halfLifeTokens = value ?? HALF_LIFE_TOKENS;
    const policy = slotMapCacheWith((options) => lfuPolicy(options, { halfLifeTokens }), `slot-map:${text}`);
    return choice(policy, 0);
  }
  if (rest.length === 0 && kind === "foresight" && (plain || (value !== null && value > 0 && value <= 1)))
    return choice(foresight(value ?? FORESIGHT_SHARE), 0);
  if (rest.length === 0 && kind === "hybrid" && (plain || (value !== null && value >= 0 && value <= 1)))
    return choice(slotMapCache, value ?? HYBRID_SHARE);
  throw new FlashlmError(
    "ENGINE_OPTION",
    `Expected a cache like ${CACHE_CHOICES} but received "${text}". HALF_LIFE is in tokens and above 0, SHARE from 0 to 1, above 0 for foresight.`,
    { cache: text },
  );
}

import type { CacheOptions, PolicyView, ResidencyPolicy } from "@flashlm/contracts";
import { VictimSelector } from "./select-victims.js";

/**
 * Least recently used, exact at any age: the unit named longest ago goes first, and of those named at the same token the
 * coldest, which is the highest number in a calibrated bundle. Every use of a token is one moment, so units of the current
 * token are never given up. It differs from the window policy in its ties and in ages above 1023 tokens.
 */
export function lruPolicy(options: Pick<CacheOptions, "layers">): ResidencyPolicy {
  const selector = new VictimSelector(Math.max(0, ...options.layers.map((layer) => layer.slotCount)));
  return {
    name: "lru",
    chooseVictims(view: PolicyView, token: number, neededCount: number, target: Uint32Array): number {
      selector.offerBySlot(view, token, view.lastUsedToken);
      return selector.take(Math.min(neededCount, target.length, selector.count), target);
    },
  };
}

import { DEMAND_COVERAGE_STEPS, DEMAND_WINDOW_MAX, type LayerDemand } from "@flashlm/contracts";

/** Demand of a layer of which only the predicted share is known: every neuron as likely as any other, tokens independent. The worst case for a cache. */
export function uniformDemand(neuronCount: number, share: number): LayerDemand {
  return {
    neuronCount,
    namedPerToken: neuronCount * share,
    freshShareByWindow: Array.from({ length: DEMAND_WINDOW_MAX }, (_, index) => (1 - share) ** (index + 1)),
    coverageByShare: Array.from(
      { length: DEMAND_COVERAGE_STEPS + 1 },
      (_, step) => step / DEMAND_COVERAGE_STEPS,
    ),
  };
}

/** Share of a token's neurons that the first `count` records cover. */
export function coverageOf(demand: LayerDemand, count: number): number {
  const at = (Math.min(count, demand.neuronCount) / Math.max(1, demand.neuronCount)) * DEMAND_COVERAGE_STEPS;
  const below = Math.floor(at);
  const first = demand.coverageByShare[below] ?? 1;
  const next = demand.coverageByShare[below + 1] ?? first;
  return first + (at - below) * (next - first);
}

/**
 * Distinct neurons that k tokens in a row name: the size of the working set. In a steady state it grows by the fresh ones of each further
 * token (Denning and Schwartz, "Properties of the working-set model", 1972), so that
 * `size(k) = namedPerToken * (1 + fresh(1) + ... + fresh(k - 1))`.
 */
export function windowNeurons(demand: LayerDemand, windowTokens: number): number {
  let total = windowTokens > 0 ? 1 : 0;
  for (let window = 1; window < windowTokens; window++) total += freshShare(demand, window);
  return Math.min(demand.neuronCount, total * demand.namedPerToken);
}

/** Share of a token's neurons that none of the `windowTokens` tokens before it named. */
export function freshShare(demand: LayerDemand, windowTokens: number): number {
  if (windowTokens < 1) return 1;
  return demand.freshShareByWindow[Math.min(windowTokens, DEMAND_WINDOW_MAX) - 1] ?? 1;
}

/** The longest window whose neurons fit so many slots, 0 where not even one token's do; at most `DEMAND_WINDOW_MAX`. */
export function windowThatFits(demand: LayerDemand, slotCount: number): number {
  let windowTokens = 0;
  while (windowTokens < DEMAND_WINDOW_MAX && windowNeurons(demand, windowTokens + 1) <= slotCount)
    windowTokens++;
  return windowTokens;
}

/**
 * Share of a token's neurons expected in slots: those among the pinned, and of the others those that the slots left for a window
 * still hold.
 */
export function expectedHitShare(demand: LayerDemand, slotCount: number, pinnedCount: number): number {
  if (slotCount >= demand.neuronCount) return 1;
  if (slotCount <= 0 || demand.namedPerToken <= 0) return 0;
  const pinnedShare = coverageOf(demand, pinnedCount);
  if (pinnedShare >= 1) return 1;
  // What is pinned is hot, and so less often fresh than the others: halfway between equally often and never.
  const others = {
    ...demand,
    namedPerToken: demand.namedPerToken * (1 - pinnedShare),
    freshShareByWindow: demand.freshShareByWindow.map((share) =>
      Math.min(1, share / Math.sqrt(1 - pinnedShare)),
    ),
  };
  return pinnedShare + (1 - pinnedShare) * recencyHitShare(others, slotCount - pinnedCount);
}

function recencyHitShare(demand: LayerDemand, slotCount: number): number {
  if (slotCount <= 0 || demand.namedPerToken <= 0) return 0;
  const windowTokens = windowThatFits(demand, slotCount);
  const held = windowNeurons(demand, windowTokens);
  // Less than one token's neurons fit: a part of the last token's are left, and as many of them are named again.
  if (windowTokens === 0) return (slotCount / demand.namedPerToken) * (1 - freshShare(demand, 1));
  const hits = 1 - freshShare(demand, windowTokens);
  if (windowTokens === DEMAND_WINDOW_MAX) {
    const left = Math.max(1, demand.neuronCount - held);
    return hits + (1 - hits) * Math.min(1, (slotCount - held) / left);
  }
  const nextHeld = windowNeurons(demand, windowTokens + 1);
  const share = nextHeld > held ? (slotCount - held) / (nextHeld - held) : 0;
  return hits + share * (1 - freshShare(demand, windowTokens + 1) - hits);
}

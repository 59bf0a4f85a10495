import type { BundleLayer, LayerDemand } from "@flashlm/contracts";
import { DEMAND_WINDOW_MAX } from "@flashlm/contracts";
import { windowNeurons, windowThatFits } from "./cost-model/expected-hits.js";
import { sum } from "./plan-sizes.js";

/** How many times as long the first layer's window is where the others' reads are guessed: no layer before it guesses its own, which are waited for. */
const FIRST_WINDOW_FACTOR = 2;

/**
 * By which power of what a layer names, beside the mean, its window counts for more where the others' reads are made early: those of a layer have the time of one layer, so that they should not be many
 * more than another's. More of it reads more in all (docs/decisions/0030-one-lease-a-layer.md).
 */
const EVENNESS = 0.3;

/**
 * Divides slots among layers. With their demand known, each layer gets what one and the same window of tokens names in it, for the
 * longest window that fits; so a layer that names twice as much has twice the slots, and no layer forgets sooner than another. Without, all
 * get the same number. What is left over goes towards the next longer window.
 *
 * @param demands - by layer, or null where that of some layer is not known.
 * @param totalCount - slots to give, a whole number.
 * @param lookAhead - whether each layer but the first is read early; then the first one's window is longer, and layers that name much get more than their window's.
 * @returns Slots by layer: whole numbers, at most the layer's neurons, together exactly `totalCount` or all neurons if those are fewer. One
 *   token's neurons of every layer where `totalCount` allows it.
 */
export function shareSlots(
  layers: readonly Pick<BundleLayer, "neuronCount">[],
  demands: readonly LayerDemand[] | null,
  totalCount: number,
  lookAhead = false,
): number[] {
  const levels = demands ? windowLevels(demands, lookAhead) : equalLevels(layers);
  return fill([...levels, layers.map(({ neuronCount }) => neuronCount)], totalCount);
}

/** Neurons by layer of one token, then of windows of 1, 2, ... tokens. */
function windowLevels(demands: readonly LayerDemand[], lookAhead: boolean): number[][] {
  const named = demands.map((demand) => windowNeurons(demand, 1));
  const meanCount = sum(named) / named.length;
  const factors = demands.map((_, layerIndex): { readonly window: number; readonly count: number } => {
    if (!lookAhead) return { window: 1, count: 1 };
    if (layerIndex === 0) return { window: FIRST_WINDOW_FACTOR, count: 1 };
    return { window: 1, count: meanCount > 0 ? (named[layerIndex]! / meanCount) ** EVENNESS : 1 };
  });
  const ofToken = demands.map(({ neuronCount }, layerIndex) =>
    Math.min(neuronCount, Math.ceil(named[layerIndex]!)),
  );
  const ofWindow = (windowTokens: number): number[] =>
    demands.map((demand, layerIndex) => {
      const { window, count } = factors[layerIndex]!;
      const wanted = Math.ceil(count * windowNeurons(demand, window * windowTokens));
      return Math.min(demand.neuronCount, Math.max(ofToken[layerIndex]!, wanted));
    });
  return [ofToken, ...Array.from({ length: DEMAND_WINDOW_MAX }, (_, index) => ofWindow(index + 1))];
}

/** As many for every layer as the smallest one has neurons, then as the next one has, and so on. */
function equalLevels(layers: readonly Pick<BundleLayer, "neuronCount">[]): number[][] {
  const counts = [...new Set(layers.map(({ neuronCount }) => neuronCount))].sort((a, b) => a - b);
  return counts.map((level) => layers.map(({ neuronCount }) => Math.min(neuronCount, level)));
}

/** The last of some ascending levels that fits, and what is left in proportion to what the next one has more. */
function fill(levels: readonly (readonly number[])[], totalCount: number): number[] {
  let held = levels[0]!.map(() => 0);
  for (const level of levels) {
    if (sum(level) <= totalCount) {
      held = [...level];
      continue;
    }
    return addInProportion(held, level, totalCount - sum(held));
  }
  return held;
}

/** Largest remainder; of equal remainders the first layer's. `leftCount` is less than all gaps together, so that no gap is overfilled. */
function addInProportion(held: readonly number[], level: readonly number[], leftCount: number): number[] {
  const gaps = level.map((count, index) => count - held[index]!);
  const gapTotal = sum(gaps);
  const exact = gaps.map((gap) => (leftCount * gap) / gapTotal);
  const counts = exact.map((count, index) => held[index]! + Math.floor(count));
  const missing = leftCount - sum(exact.map(Math.floor));
  const byRemainder = exact
    .map((count, index) => ({ index, remainder: count - Math.floor(count) }))
    .sort((a, b) => b.remainder - a.remainder || a.index - b.index);
  for (const { index } of byRemainder.slice(0, missing)) counts[index]!++;
  return counts;
}

/** The longest window, in tokens, whose neurons fit the slots of every layer; 0 where not even one token's do in some layer. */
export function windowOfSlots(demands: readonly LayerDemand[], slotCountByLayer: readonly number[]): number {
  return Math.min(
    ...demands.map((demand, layerIndex) => windowThatFits(demand, slotCountByLayer[layerIndex] ?? 0)),
  );
}

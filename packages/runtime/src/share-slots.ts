import type { BundleLayer, LayerDemand } from "@flashlm/contracts";
import { DEMAND_WINDOW_MAX } from "@flashlm/contracts";
import { windowNeurons, windowThatFits } from "./cost-model/expected-hits.js";
import { sum } from "./plan-sizes.js";

/** How many times as long the first layer's window is where the others' reads are guessed: no layer before it guesses its own, which are waited for. */
const FIRST_WINDOW_FACTOR = 2;

/**
 * Divides slots among layers. With their demand known, each layer gets what one and the same window of tokens names in it, for the
 * longest window that fits; so a layer that names twice as much has twice the slots, and no layer forgets sooner than another. Without, all
 * get the same number. What is left over goes towards the next longer window.
 *
 * @param demands - by layer, or null where that of some layer is not known.
 * @param totalCount - slots to give, a whole number.
 * @param lookAhead - whether each layer but the first is read early; then the first one's window is longer.
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
  const level = (windowTokens: number, firstFactor: number): number[] =>
    demands.map((demand, layerIndex) => {
      const tokens = layerIndex === 0 ? firstFactor * windowTokens : windowTokens;
      return Math.min(demand.neuronCount, Math.ceil(windowNeurons(demand, tokens)));
    });
  const firstFactor = lookAhead ? FIRST_WINDOW_FACTOR : 1;
  return [
    level(1, 1),
    ...Array.from({ length: DEMAND_WINDOW_MAX }, (_, index) => level(index + 1, firstFactor)),
  ];
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

import { DEMAND_WINDOW_MAX, type LayerDemand } from "@flashlm/contracts";
import { windowThatFits } from "./expected-hits.js";

/** Standard normal quantiles in the middles of eight equally likely ranges. */
const QUANTILES = [-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534] as const;

/** Standard deviation, over tokens, of a layer's misses with so many slots, as a share of their mean; 0 where it was not measured. */
export function missSpread(demand: LayerDemand, slotCount: number): number {
  const windowTokens = Math.min(DEMAND_WINDOW_MAX, Math.max(1, windowThatFits(demand, slotCount)));
  return demand.freshSpreadByWindow?.[windowTokens - 1] ?? 0;
}

/**
 * Misses of equally likely tokens as multiples of their mean, ascending: a log-normal distribution of that spread, since misses are never negative and
 * tokens that open a new subject miss many times the mean. Their mean is 1.
 */
export function missFactors(spread: number): readonly number[] {
  const deviation = Math.sqrt(Math.log1p(spread * spread));
  const factors = QUANTILES.map((quantile) => Math.exp(deviation * quantile));
  const mean = factors.reduce((total, factor) => total + factor, 0) / factors.length;
  return factors.map((factor) => factor / mean);
}

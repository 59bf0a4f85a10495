import { DEMAND_WINDOW_MAX } from "@flashlm/contracts";
import { uniformDemand } from "@flashlm/runtime";
import { DemandCounter } from "@flashlm/window-cache";
import { describe, expect, it } from "vitest";
import { missFactors, missSpread } from "../src/cost-model/miss-spread.js";

const mean = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0) / values.length;
const deviation = (values: readonly number[]): number =>
  Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));

describe("the spread of misses", () => {
  it("is none where it was not measured: every token has the mean", () => {
    expect(missSpread(uniformDemand(100, 0.2), 50)).toBe(0);
    for (const factor of missFactors(0)) expect(factor).toBeCloseTo(1, 12);
  });

  it("keeps the mean, and most of the deviation in eight tokens", () => {
    for (const spread of [0.2, 0.5, 1, 3]) {
      expect(mean(missFactors(spread))).toBeCloseTo(1, 12);
      expect(Math.min(...missFactors(spread))).toBeGreaterThan(0);
    }
    for (const spread of [0.2, 0.5]) {
      expect(deviation(missFactors(spread)) / spread).toBeGreaterThan(0.85);
      expect(deviation(missFactors(spread)) / spread).toBeLessThan(1);
    }
  });

  it("is that of the longest window that the slots hold, as counting tokens gives it", () => {
    // Every fourth token names neurons that none of the three before it named.
    const tokens = Array.from({ length: 400 }, (_, token) => {
      const first = token % 4 === 0 ? (token * 5) % 90 : (Math.floor(token / 4) * 20) % 90;
      return [first, first + 1, first + 2 + (token % 3)];
    });
    const counter = new DemandCounter(100);
    for (const ids of tokens) {
      for (const id of ids) counter.add(id);
      counter.endToken();
    }
    const demand = counter.demand();
    expect(demand.freshSpreadByWindow).toHaveLength(DEMAND_WINDOW_MAX);
    for (const window of [1, 2, 3]) {
      const fresh = tokens.slice(window).map((ids, index) => {
        const seen = new Set(tokens.slice(index, index + window).flat());
        return ids.filter((id) => !seen.has(id)).length;
      });
      expect(demand.freshSpreadByWindow![window - 1]).toBeCloseTo(deviation(fresh) / mean(fresh), 9);
    }
    expect(missSpread(demand, 3)).toBe(demand.freshSpreadByWindow![0]);
    expect(missSpread(demand, 0)).toBe(demand.freshSpreadByWindow![0]);
  });
});

import {
  DEMAND_COVERAGE_STEPS,
  DEMAND_WINDOW_MAX,
  type LayerDemand,
  type ModelDemand,
} from "@flashlm/contracts";
import type { Trace, TraceLayer } from "./read-trace.js";

/** Share of each token's units by how many tokens ago they were named last; only tokens with so many before them count. */
function freshShares({ unitCount, starts, ids }: TraceLayer): number[] {
  const lastToken = new Int32Array(unitCount).fill(-DEMAND_WINDOW_MAX - 1);
  // Element g of these: named / fresh for windows of at most g, given that g tokens came before.
  const fresh = new Float64Array(DEMAND_WINDOW_MAX + 1);
  const named = new Float64Array(DEMAND_WINDOW_MAX + 1);
  for (let token = 0; token + 1 < starts.length; token++) {
    const windowMost = Math.min(token, DEMAND_WINDOW_MAX);
    for (let use = starts[token]!; use < starts[token + 1]!; use++) {
      const unit = ids[use]!;
      const gap = token - lastToken[unit]!;
      lastToken[unit] = token;
      named[windowMost]!++;
      fresh[Math.min(gap - 1, windowMost)]!++;
    }
  }
  // From the longest window down: a unit is fresh for k if its gap is longer than k and k tokens came before.
  const shares = new Array<number>(DEMAND_WINDOW_MAX);
  let freshCount = 0;
  let namedCount = 0;
  for (let window = DEMAND_WINDOW_MAX; window >= 1; window--) {
    freshCount += fresh[window]!;
    namedCount += named[window]!;
    shares[window - 1] = namedCount > 0 ? Math.min(1, freshCount / namedCount) : 1;
  }
  // Windows longer than the text have no figure of their own.
  for (let window = 1; window < DEMAND_WINDOW_MAX; window++)
    if (starts.length - 1 <= window + 1) shares[window] = shares[window - 1]!;
  return shares;
}

function coverage({ unitCount, ids }: TraceLayer): number[] {
  const counts = new Float64Array(DEMAND_COVERAGE_STEPS + 1);
  for (let use = 0; use < ids.length; use++)
    counts[Math.floor((ids[use]! * DEMAND_COVERAGE_STEPS) / unitCount) + 1]!++;
  let sum = 0;
  return Array.from(counts, (count) => {
    sum += count;
    return ids.length > 0 ? sum / ids.length : 0;
  });
}

/** What a trace asks of each layer: neurons per token, how many of them are fresh by window, and how popular the first records are. */
export function traceDemand(trace: Trace): ModelDemand {
  const layers = trace.layers.map(
    (layer): LayerDemand => ({
      neuronCount: layer.unitCount,
      namedPerToken: layer.ids.length / Math.max(1, trace.tokenCount),
      freshShareByWindow: freshShares(layer),
      coverageByShare: coverage(layer),
    }),
  );
  return { sparsity: trace.header.sparsity, tokenCount: trace.tokenCount, layers };
}

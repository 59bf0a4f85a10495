import {
  DEMAND_COVERAGE_STEPS,
  DEMAND_WINDOW_MAX,
  type LayerDemand,
  type ModelDemand,
} from "@flashlm/contracts";
import type { Trace } from "./read-trace.js";

/** Counts what one layer's tokens name, unit by unit; its memory does not grow with the text: {@link demandCounterBytes}. */
export class DemandCounter {
  readonly #unitCount: number;
  /** Token that named each unit last. */
  readonly #lastToken: Int32Array;
  // Element g of these: named / fresh for windows of at most g, given that g tokens came before.
  readonly #fresh = new Float64Array(DEMAND_WINDOW_MAX + 1);
  readonly #named = new Float64Array(DEMAND_WINDOW_MAX + 1);
  // Element k: the token's units that are fresh for a window of k; then of all tokens with so many before them their count, sum and squares.
  readonly #freshOfToken = new Float64Array(DEMAND_WINDOW_MAX + 1);
  readonly #moments = Array.from({ length: 3 }, () => new Float64Array(DEMAND_WINDOW_MAX + 1));
  /** By share of the units, first (hottest) ones first. */
  readonly #uses = new Float64Array(DEMAND_COVERAGE_STEPS + 1);
  #useCount = 0;
  #tokenCount = 0;

  constructor(unitCount: number) {
    this.#unitCount = unitCount;
    this.#lastToken = new Int32Array(unitCount).fill(-DEMAND_WINDOW_MAX - 1);
  }

  /** The token that is counted names a unit. */
  add(unit: number): void {
    const token = this.#tokenCount;
    const windowMost = Math.min(token, DEMAND_WINDOW_MAX);
    const gap = token - this.#lastToken[unit]!;
    this.#lastToken[unit] = token;
    this.#named[windowMost]!++;
    this.#fresh[Math.min(gap - 1, windowMost)]!++;
    this.#freshOfToken[Math.min(gap - 1, windowMost)]!++;
    this.#uses[Math.floor((unit * DEMAND_COVERAGE_STEPS) / this.#unitCount) + 1]!++;
    this.#useCount++;
  }

  /** The token has named all. */
  endToken(): void {
    const [counts, sums, squares] = this.#moments;
    let freshCount = 0;
    for (let window = Math.min(this.#tokenCount, DEMAND_WINDOW_MAX); window >= 1; window--) {
      freshCount += this.#freshOfToken[window]!;
      counts![window]!++;
      sums![window]! += freshCount;
      squares![window]! += freshCount * freshCount;
    }
    this.#freshOfToken.fill(0);
    this.#tokenCount++;
  }

  /** Neurons per token, how many of them are fresh by window and how that varies, and how popular the first records are. */
  demand(): LayerDemand {
    return {
      neuronCount: this.#unitCount,
      namedPerToken: this.#useCount / Math.max(1, this.#tokenCount),
      freshShareByWindow: this.#freshShares(),
      freshSpreadByWindow: this.#freshSpreads(),
      coverageByShare: this.#coverage(),
    };
  }

  /** Share of each token's units by how many tokens ago they were named last; only tokens with so many before them count. */
  #freshShares(): number[] {
    // From the longest window down: a unit is fresh for k if its gap is longer than k and k tokens came before.
    const shares = new Array<number>(DEMAND_WINDOW_MAX);
    let freshCount = 0;
    let namedCount = 0;
    for (let window = DEMAND_WINDOW_MAX; window >= 1; window--) {
      freshCount += this.#fresh[window]!;
      namedCount += this.#named[window]!;
      shares[window - 1] = namedCount > 0 ? Math.min(1, freshCount / namedCount) : 1;
    }
    // Windows longer than the text have no figure of their own.
    for (let window = 1; window < DEMAND_WINDOW_MAX; window++)
      if (this.#tokenCount <= window + 1) shares[window] = shares[window - 1]!;
    return shares;
  }

  /** Of windows longer than the text that of the longest one it has. */
  #freshSpreads(): number[] {
    const [counts, sums, squares] = this.#moments;
    let spread = 0;
    return Array.from({ length: DEMAND_WINDOW_MAX }, (_, index) => {
      const count = counts![index + 1]!;
      if (count < 2) return spread;
      const mean = sums![index + 1]! / count;
      const variance = Math.max(0, squares![index + 1]! / count - mean * mean);
      spread = mean > 0 ? Math.sqrt(variance) / mean : 0;
      return spread;
    });
  }

  #coverage(): number[] {
    let sum = 0;
    return Array.from(this.#uses, (count) => {
      sum += count;
      return this.#useCount > 0 ? sum / this.#useCount : 0;
    });
  }
}

/** Bytes that a {@link DemandCounter} of so many units takes. */
export function demandCounterBytes(unitCount: number): number {
  return 4 * unitCount + 8 * (6 * (DEMAND_WINDOW_MAX + 1) + DEMAND_COVERAGE_STEPS + 1);
}

/** What a trace asks of each layer. */
export function traceDemand(trace: Trace): ModelDemand {
  const layers = trace.layers.map(({ unitCount, starts, ids }): LayerDemand => {
    const counter = new DemandCounter(unitCount);
    for (let token = 0; token + 1 < starts.length; token++) {
      for (let use = starts[token]!; use < starts[token + 1]!; use++) counter.add(ids[use]!);
      counter.endToken();
    }
    return counter.demand();
  });
  return { sparsity: trace.header.sparsity, tokenCount: trace.tokenCount, layers };
}

import type { TraceLayer } from "./read-trace.js";

const NEVER = 0x7fffffff;

/** Hits of the best cache there can be. */
export interface OptimumResult {
  readonly hitCount: number;
  readonly missCount: number;
}

/** For each use, the token of the unit's next use, or NEVER. */
function nextUses({ unitCount, starts, ids }: TraceLayer): Int32Array {
  const nextByUnit = new Int32Array(unitCount).fill(NEVER);
  const next = new Int32Array(ids.length);
  for (let token = starts.length - 2; token >= 0; token--) {
    for (let use = starts[token]!; use < starts[token + 1]!; use++) {
      next[use] = nextByUnit[ids[use]!]!;
      nextByUnit[ids[use]!] = token;
    }
  }
  return next;
}

/**
 * Belady's optimum (1966) of one layer: between two tokens, the slots hold the units that are named again soonest. A token's units may
 * also be read and dropped, as overflow is, so no policy of ours has more hits, not even one that knows the future.
 *
 * @param warmupTokens - first tokens that are not counted.
 */
export function beladyOptimum(layer: TraceLayer, slotCount: number, warmupTokens = 0): OptimumResult {
  const { unitCount, starts, ids } = layer;
  const next = nextUses(layer);
  const cached = new Uint8Array(unitCount);
  const nextByUnit = new Int32Array(unitCount).fill(NEVER);
  const heap = new FurthestHeap();
  let cachedCount = 0;
  let hitCount = 0;
  let missCount = 0;
  for (let token = 0; token + 1 < starts.length; token++) {
    for (let use = starts[token]!; use < starts[token + 1]!; use++) {
      const unit = ids[use]!;
      const hit = cached[unit] === 1;
      if (token >= warmupTokens) {
        if (hit) hitCount++;
        else missCount++;
      }
      nextByUnit[unit] = next[use]!;
      if (next[use] === NEVER) {
        if (hit) cachedCount--;
        cached[unit] = 0;
        continue;
      }
      if (!hit) cachedCount++;
      cached[unit] = 1;
      heap.push(next[use]!, unit);
    }
    while (cachedCount > slotCount) {
      const { token: furthest, unit } = heap.pop();
      // Entries of units that have been used or dropped since are stale.
      if (cached[unit] === 0 || nextByUnit[unit] !== furthest) continue;
      cached[unit] = 0;
      cachedCount--;
    }
  }
  return { hitCount, missCount };
}

/** Units by the token of their next use, the furthest on top. */
class FurthestHeap {
  readonly #tokens: number[] = [];
  readonly #units: number[] = [];

  push(token: number, unit: number): void {
    let at = this.#tokens.length;
    this.#tokens.push(token);
    this.#units.push(unit);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#tokens[parent]! >= token) break;
      this.#set(at, this.#tokens[parent]!, this.#units[parent]!);
      at = parent;
    }
    this.#set(at, token, unit);
  }

  pop(): { token: number; unit: number } {
    const top = { token: this.#tokens[0]!, unit: this.#units[0]! };
    const token = this.#tokens.pop()!;
    const unit = this.#units.pop()!;
    const count = this.#tokens.length;
    if (count === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && this.#tokens[child + 1]! > this.#tokens[child]!) child++;
      if (this.#tokens[child]! <= token) break;
      this.#set(at, this.#tokens[child]!, this.#units[child]!);
      at = child;
    }
    this.#set(at, token, unit);
    return top;
  }

  #set(at: number, token: number, unit: number): void {
    this.#tokens[at] = token;
    this.#units[at] = unit;
  }
}

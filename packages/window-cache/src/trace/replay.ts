import type { CacheChoice } from "../parse-cache.js";
import { beladyOptimum } from "./belady.js";
import type { Trace } from "./read-trace.js";

/** Name of the row that no policy can beat. */
export const OPTIMUM_NAME = "belady";

/** How a trace is replayed. */
export interface ReplayOptions {
  /** Slots of each layer. */
  readonly slotCountByLayer: readonly number[];
  readonly windowTokens: number;
  /** First tokens that fill the slots and are not counted. */
  readonly warmupTokens: number;
}

/** What a cache would have done. */
export interface ReplayRow {
  readonly name: string;
  readonly hitCount: number;
  readonly missCount: number;
  /** Of `hitCount + missCount`; 0 where nothing was named. */
  readonly hitRate: number;
  readonly readBytesPerToken: number;
}

function rowOf(
  trace: Trace,
  options: ReplayOptions,
  name: string,
  hitCount: number,
  missCount: number,
): ReplayRow {
  const tokenCount = Math.max(1, trace.tokenCount - options.warmupTokens);
  return {
    name,
    hitCount,
    missCount,
    hitRate: hitCount + missCount > 0 ? hitCount / (hitCount + missCount) : 0,
    readBytesPerToken: (missCount * trace.header.recordBytes) / tokenCount,
  };
}

/** Slots that the choice pins in a layer; left to the plan, all of them where a token names more units than there are slots. */
function pinnedCount(trace: Trace, layerIndex: number, slotCount: number, share: number | null): number {
  const { unitCount, ids } = trace.layers[layerIndex]!;
  const most = Math.min(unitCount, slotCount);
  if (share !== null) return Math.min(most, Math.round(slotCount * share));
  return ids.length / Math.max(1, trace.tokenCount) > slotCount ? most : 0;
}

/** Replays a trace through the real cache of a choice. */
export function replayTrace(trace: Trace, choice: CacheChoice, options: ReplayOptions): ReplayRow {
  const { slotCountByLayer, windowTokens, warmupTokens } = options;
  const cache = choice.part.create({
    unit: trace.header.unit,
    layers: trace.layers.map(({ unitCount }, layerIndex) => {
      const slotCount = slotCountByLayer[layerIndex] ?? 0;
      return {
        unitCount,
        slotCount,
        pinnedCount: pinnedCount(trace, layerIndex, slotCount, choice.pinnedShare),
      };
    }),
    windowTokens,
    moveRecord: () => {}, // Only indices are replayed.
  });
  const ids = new Uint32Array(Math.max(1, ...trace.layers.map((layer) => layer.unitCount)));
  let warm = { hitCount: 0, missCount: 0 };
  for (let token = 0; token < trace.tokenCount; token++) {
    if (token === warmupTokens) warm = cache.stats();
    for (const [layerIndex, layer] of trace.layers.entries()) {
      const begin = layer.starts[token]!;
      const count = layer.starts[token + 1]! - begin;
      ids.set(layer.ids.subarray(begin, begin + count));
      cache.acquire(layerIndex, ids, count, "window").release();
    }
    cache.advanceToken();
  }
  const stats = cache.stats();
  if (trace.tokenCount <= warmupTokens) warm = stats;
  const hits = stats.hitCount - warm.hitCount;
  return rowOf(trace, options, choice.name, hits, stats.missCount - warm.missCount);
}

/** Belady's optimum with the same slots: the bound for every policy. */
export function replayOptimum(trace: Trace, options: ReplayOptions): ReplayRow {
  let hitCount = 0;
  let missCount = 0;
  for (const [layerIndex, layer] of trace.layers.entries()) {
    const best = beladyOptimum(layer, options.slotCountByLayer[layerIndex] ?? 0, options.warmupTokens);
    hitCount += best.hitCount;
    missCount += best.missCount;
  }
  return rowOf(trace, options, OPTIMUM_NAME, hitCount, missCount);
}

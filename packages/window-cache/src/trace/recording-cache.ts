import type { AdmitMode, CacheOptions, CachePart, NeuronCache } from "@flashlm/contracts";
import type { TraceWriter } from "./trace-writer.js";

/**
 * A cache that writes down what each token names, and is otherwise the one it wraps. Acquires with admit "none" (prompt chunks,
 * which change no cache) are not recorded. `finish` of the writer is the caller's.
 */
export function recordingCache(
  part: CachePart,
  openTrace: (options: CacheOptions) => TraceWriter,
): CachePart {
  return {
    name: part.name,
    create(options) {
      const cache = part.create(options);
      const trace = openTrace(options);
      const recorded: NeuronCache = {
        contractVersion: 1,
        unit: cache.unit,
        name: cache.name,
        ...(cache.guessesOverlap ? { guessesOverlap: true } : {}),
        slotCount: (layerIndex) => cache.slotCount(layerIndex),
        acquire(layerIndex: number, ids: Uint32Array, count: number, admit: AdmitMode, steps?: Uint8Array) {
          const lease = cache.acquire(layerIndex, ids, count, admit, steps);
          if (admit === "window") trace.units(layerIndex, ids, count);
          return lease;
        },
        foresee: (layerIndex, scores) => cache.foresee?.(layerIndex, scores),
        advanceToken() {
          cache.advanceToken();
          trace.endToken();
        },
        stats: () => cache.stats(),
        residentIds: (layerIndex) => cache.residentIds(layerIndex),
      };
      return recorded;
    },
  };
}

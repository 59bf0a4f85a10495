export { compactCache } from "./compact-cache.js";
export { FORESIGHT_SHARE, type ForesightPolicyOptions, foresightPolicy } from "./foresight-policy.js";
export { HALF_LIFE_TOKENS, type LfuPolicyOptions, lfuPolicy } from "./lfu-policy.js";
export { lruPolicy } from "./lru-policy.js";
export { CACHE_CHOICES, type CacheChoice, type CacheUse, parseCache } from "./parse-cache.js";
export { type PolicyFactory, slotMapCache, slotMapCacheWith } from "./slot-map-cache.js";
export { beladyOptimum, type OptimumResult } from "./trace/belady.js";
export { DemandCounter, demandCounterBytes, traceDemand } from "./trace/demand.js";
export { readTrace, type Trace, type TraceLayer } from "./trace/read-trace.js";
export { recordingCache } from "./trace/recording-cache.js";
export {
  OPTIMUM_NAME,
  type ReplayOptions,
  type ReplayRow,
  replayOptimum,
  replayTrace,
} from "./trace/replay.js";
export { TRACE_VERSION, type TraceHeader } from "./trace/trace-format.js";
export { TraceWriter } from "./trace/trace-writer.js";
export { windowPolicy } from "./window-policy.js";

export { compactCache } from "./compact-cache.js";
export { HALF_LIFE_TOKENS, type LfuPolicyOptions, lfuPolicy } from "./lfu-policy.js";
export { lruPolicy } from "./lru-policy.js";
export { CACHE_CHOICES, type CacheChoice, parseCache } from "./parse-cache.js";
export { type PolicyFactory, slotMapCache, slotMapCacheWith } from "./slot-map-cache.js";
export { windowPolicy } from "./window-policy.js";

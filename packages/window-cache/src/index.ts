export { compactCache } from "./compact-cache.js";
export { slotMapCache, slotMapCacheWith } from "./slot-map-cache.js";
export { windowPolicy } from "./window-policy.js";

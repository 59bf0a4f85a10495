import { neuronCacheConformance } from "@flashlm/contracts/testing";
import { parseCache } from "../src/index.js";

for (const name of ["compact", "window", "lru", "auto", "foresight:1", "lfu", "lfu:1", "lfu:1000"]) {
  neuronCacheConformance({ name, part: parseCache(name).part });
}

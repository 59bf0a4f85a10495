import { neuronCacheConformance } from "@flashlm/contracts/testing";
import { compactCache, slotMapCache } from "../src/index.js";

neuronCacheConformance({ name: "compact", part: compactCache });
neuronCacheConformance({ name: "slot map", part: slotMapCache });

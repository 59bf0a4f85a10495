export * from "./flash-reader-conformance.js";
export * from "./kernel-conformance.js";
export * from "./neuron-cache-conformance.js";
export * from "./predictor-conformance.js";
export * from "./prng.js";
export * from "./read-planner-conformance.js";

export { densePredictor } from "./dense.js";
export { type GateThresholdOptions, gateThresholdPredictor } from "./gate-threshold.js";
export { oraclePredictor } from "./oracle.js";
export { parseSparsity } from "./parse-sparsity.js";
export { shadowPredictor } from "./shadow.js";

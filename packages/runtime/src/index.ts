export type { DeviceSpeed } from "./cost-model/device-costs.js";
export { batchMs, readBytesPerSecond } from "./cost-model/device-costs.js";
export type { EngineSpeed, MissCost } from "./cost-model/engine-speed.js";
export {
  coverageOf,
  expectedHitShare,
  freshShare,
  uniformDemand,
  windowNeurons,
  windowThatFits,
} from "./cost-model/expected-hits.js";
export { type ForecastRequest, forecastToken, type TokenForecast } from "./cost-model/forecast.js";
export type { KernelSpeed } from "./cost-model/kernel-speed.js";
export { LOOK_AHEAD_USUAL, type LookAheadShares } from "./cost-model/look-ahead-costs.js";
export { type ProbeParts, probeKernels } from "./cost-model/probe-kernels.js";
export { missReads, type Reads } from "./cost-model/read-costs.js";
export { type RehearsalOptions, rehearse } from "./cost-model/rehearsal/rehearse.js";
export { residentDtypeOf, scaleKernelSpeed, withResidentDtype } from "./cost-model/resident-precision.js";
export { createEngine } from "./engine.js";
export {
  type EngineOptions,
  type EngineParts,
  type KernelNeeds,
  type TokenSampler,
  WINDOW_TOKENS,
} from "./engine-options.js";
export type { ModelFamily } from "./families/family.js";
export { type LayerContext, LayerOps } from "./families/layer-ops.js";
export { findFamily, MODEL_FAMILIES } from "./families/registry.js";
export type { Flight } from "./flight.js";
export { createMemoryBudget } from "./memory-budget.js";
export { type MemoryPlan, planMemory } from "./memory-plan.js";
export { PROMPT_CHUNK_TOKENS, planEngine } from "./plan-engine.js";
export type { PlanChoices, PlanRequest, PlanRow } from "./plan-sizes.js";
export { type RopeConfig, RopeTable } from "./rope-table.js";
export type { RunState } from "./run-state.js";
export { createSampler, createStopMatcher, type Sampler, type StopMatcher } from "./sampling/index.js";
export { DRAFT_TOKENS, DRAFT_TOKENS_MAX } from "./speculative/draft-tokens.js";
export { createSpeculativeEngine, type EngineRecipe } from "./speculative/engine.js";
export {
  type ChatMessage,
  loadTokenizer,
  type StreamDecoder,
  type TextTokenizer,
} from "./tokenizer/index.js";
export { connectGenerator } from "./worker/client.js";
export { hostGenerator, type StopSignal, stopSignal } from "./worker/host.js";

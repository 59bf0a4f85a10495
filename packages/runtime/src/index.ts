export {
  createEngine,
  type EngineOptions,
  type EngineParts,
  PROMPT_CHUNK_TOKENS,
  planEngine,
  type TokenSampler,
  WINDOW_TOKENS,
} from "./engine.js";
export type { ModelFamily } from "./families/family.js";
export { type LayerContext, LayerOps } from "./families/layer-ops.js";
export { findFamily, MODEL_FAMILIES } from "./families/registry.js";
export type { Flight } from "./flight.js";
export { createMemoryBudget } from "./memory-budget.js";
export { keyValueBytesPerToken, type MemoryPlan, type PlanRequest, planMemory } from "./memory-plan.js";
export { RopeTable } from "./rope-table.js";
export type { RunState } from "./run-state.js";
export { createSampler, createStopMatcher, type Sampler, type StopMatcher } from "./sampling/index.js";
export {
  type ChatMessage,
  loadTokenizer,
  type StreamDecoder,
  type TextTokenizer,
} from "./tokenizer/index.js";
export { connectGenerator } from "./worker/client.js";
export { hostGenerator, type StopSignal, stopSignal } from "./worker/host.js";

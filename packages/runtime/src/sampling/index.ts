export { createRandomSource, type RandomSource } from "./random.js";
export { createSampler, REPETITION_WINDOW_TOKENS, type Sampler } from "./sampler.js";
export { createStopMatcher, STOP_COUNT_MAX, STOP_LENGTH_MAX, type StopMatcher } from "./stop-matcher.js";

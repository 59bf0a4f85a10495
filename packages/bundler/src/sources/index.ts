export type { Checkpoint, SourceTensor } from "./checkpoint.js";
export { type HashProgress, hashCheckpoint } from "./content-hash.js";
export { openCheckpoint } from "./open-checkpoint.js";

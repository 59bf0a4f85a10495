export type { WeightDtype } from "@flashlm/contracts";
export { decodeRow, encodeRow } from "./codecs/index.js";
export { crc32c } from "./format/crc32c.js";
export { chooseDtype, type DtypeChoice } from "./format/dtype-choice.js";
export type { Checkpoint, SourceTensor } from "./sources/checkpoint.js";
export { hashCheckpoint } from "./sources/content-hash.js";
export { openCheckpoint } from "./sources/open-checkpoint.js";
export { type BundleProgress, type WriteBundleOptions, writeBundle } from "./writer/write-bundle.js";

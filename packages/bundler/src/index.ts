export { decodeRow, encodeRow } from "./codecs/index.js";
export type { InputMoments } from "./codecs/measured-rounding.js";
export { crc32c } from "./format/crc32c.js";
export { chooseDtype, type DtypeChoice, roundsToFourBits } from "./format/dtype-choice.js";
export {
  type HeadInput,
  type ImportedHeads,
  type ImportHeadsOptions,
  importHeads,
} from "./heads/import-heads.js";
export { isBundle, openBundle } from "./reader/open-bundle.js";
export { type VerifyProgress, verifyBundle } from "./reader/verify-bundle.js";
export type { Checkpoint, SourceTensor } from "./sources/checkpoint.js";
export { type HashProgress, hashCheckpoint } from "./sources/content-hash.js";
export { openCheckpoint } from "./sources/open-checkpoint.js";
export {
  type ActivityTargets,
  activeTarget,
  findPreset,
  SYNTHETIC_PRESETS,
  type SyntheticFamily,
  type SyntheticPreset,
  type SyntheticShape,
} from "./synthetic/presets.js";
export type { SyntheticDtype } from "./synthetic/row-filler.js";
export {
  SYNTHETIC_THREADS_MAX,
  type SyntheticCheckpoint,
  type SyntheticOptions,
  writeSynthetic,
} from "./synthetic/write-synthetic.js";
export { convertTokenizer, type TokenizerFile, type TokenizerSource } from "./tokenizer/index.js";
export { recoverReplacement } from "./writer/install-bundle.js";
export { planBundleIndex } from "./writer/plan-bundle-index.js";
export { type RewriteOrderOptions, rewriteOrder } from "./writer/rewrite-order.js";
export {
  type BundleProgress,
  type MeasuredRounding,
  type WriteBundleOptions,
  writeBundle,
} from "./writer/write-bundle.js";
export { type HeadWeights, type WriteHeadsOptions, writeHeads } from "./writer/write-heads.js";

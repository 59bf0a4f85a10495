import { BUNDLE_FILES } from "@flashlm/contracts";
import { CHECKSUMS_FILE } from "../format/bundle-plan.js";

/** File of a partial bundle that says which sections are finished. */
export const JOURNAL_FILE = "progress.json";

/** Names that a (partial) bundle may have; files of other names are somebody else's and never deleted. */
export const OWN_NAMES: ReadonlySet<string> = new Set([
  ...BUNDLE_FILES,
  CHECKSUMS_FILE,
  "config.json",
  "bundle.json",
  "tokenizer.json",
  "tokenizer_config.json",
  JOURNAL_FILE,
  `${JOURNAL_FILE}.new`,
]);

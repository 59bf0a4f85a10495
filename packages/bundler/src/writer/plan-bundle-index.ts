import type { BundleIndex } from "@flashlm/contracts";
import { planBundle } from "../format/bundle-plan.js";
import type { DtypeChoice } from "../format/dtype-choice.js";
import { makeIndex } from "../reader/open-bundle.js";
import type { Checkpoint } from "../sources/checkpoint.js";
import { manifestOf } from "./finish-bundle.js";

/**
 * The index that a bundle of `checkpoint` (borrowed) at `path` would have, without making it: for plans and forecasts. Nothing is read, no
 * file needs to be there; checksums of tensors are 0, and asking for those of records or for their order throws RangeError.
 * @param choice - as `chooseDtype` gives it for this checkpoint.
 * @param contentHash - hash of the checkpoint's content, as for `writeBundle`.
 */
export function planBundleIndex(
  checkpoint: Checkpoint,
  choice: DtypeChoice,
  path: string,
  contentHash: string,
): BundleIndex {
  const manifest = manifestOf(checkpoint, planBundle(checkpoint, choice), choice, contentHash, () => 0);
  return makeIndex(path, manifest, { recordChecksums: [], orders: [] });
}

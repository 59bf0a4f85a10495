import type { FlashReader } from "@flashlm/contracts";
import { openFlashReader } from "../open-reader.js";

/** Opens files with a reader that keeps `inFlightMax` reads in flight, or as many as it can; its own default where that is left out. */
export type ReaderFactory = (
  paths: readonly string[],
  options?: { readonly inFlightMax?: number },
) => Promise<FlashReader>;

/** The package's best reader on this machine. */
export const openBestReader: ReaderFactory = (paths, options) => openFlashReader(paths, options);

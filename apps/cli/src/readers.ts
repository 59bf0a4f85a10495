import { openFlashReader, READER_BACKENDS, type ReaderBackend, type ReaderFactory } from "@flashlm/flash-io";

/** Values of `--reader`. */
export const READERS: readonly ReaderBackend[] = READER_BACKENDS;
/** Readers that read a device, as flags name them; auto is the best there is. */
export const DEVICE_READERS: readonly ReaderBackend[] = READERS.filter((backend) => backend !== "memory");
/** One of {@link READERS}. */
export type ReaderChoice = ReaderBackend;

/** What opens files for a flag. @param awakeUs - for how long waits look before they sleep. */
export function readerFactory(backend: ReaderChoice, awakeUs = 0): ReaderFactory {
  return (paths, options) => openFlashReader(paths, { ...options, backend, awakeUs });
}

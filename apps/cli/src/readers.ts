import {
  ENGINE_AWAKE_US,
  openFlashReader,
  READER_BACKENDS,
  type ReaderBackend,
  type ReaderFactory,
} from "@flashlm/flash-io";

/** Values of `--reader`. */
export const READERS: readonly ReaderBackend[] = READER_BACKENDS;
/** Readers that read a device, as flags name them; auto is the best there is. */
export const DEVICE_READERS: readonly ReaderBackend[] = READERS.filter((backend) => backend !== "memory");
/** One of {@link READERS}. */
export type ReaderChoice = ReaderBackend;

/** What opens an engine's files for a flag: whoever waits for them can do nothing else. */
export function engineReaderFactory(backend: ReaderChoice): ReaderFactory {
  return (paths, options) => openFlashReader(paths, { ...options, backend, awakeUs: ENGINE_AWAKE_US });
}

/** What opens files for a flag. */
export function readerFactory(backend: ReaderChoice): ReaderFactory {
  return (paths, options) => openFlashReader(paths, { ...options, backend });
}

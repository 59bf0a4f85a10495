import { createMemoryReader, createNodeReader, openBestReader, type ReaderFactory } from "@flashlm/flash-io";

/** Readers that read a device, as flags name them; auto is the best there is. */
export const DEVICE_READERS = ["auto", "node"] as const;
/** Values of `--reader`. */
export const READERS = ["auto", "node", "memory"] as const;
/** One of {@link READERS}. */
export type ReaderChoice = (typeof READERS)[number];

const FACTORIES: Readonly<Record<ReaderChoice, ReaderFactory>> = {
  auto: openBestReader,
  node: createNodeReader,
  memory: (paths) => createMemoryReader(paths),
};

/** What opens files for a flag. */
export function readerFactory(choice: ReaderChoice): ReaderFactory {
  return FACTORIES[choice];
}

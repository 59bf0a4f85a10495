import { closeSync, constants, openSync, readSync } from "node:fs";
import { allocatePages } from "../page-memory.js";

/** From a byte, which file systems that quietly go through the page cache accept, to the largest block in use. */
const CANDIDATES_BYTES = [1, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] as const;

/**
 * Smallest alignment of offset, length and memory at which O_DIRECT reads work, found by reading. Null where O_DIRECT does not
 * exist or is refused. 1 means that the file system takes the flag and reads through its cache where it must.
 */
export function probeAlignment(path: string): number | null {
  const flag = constants.O_DIRECT as number | undefined;
  if (flag === undefined) return null;
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | flag);
  } catch {
    return null;
  }
  try {
    const memory = allocatePages(2 * CANDIDATES_BYTES.at(-1)!);
    return CANDIDATES_BYTES.find((alignmentBytes) => reads(descriptor, memory, alignmentBytes)) ?? null;
  } finally {
    closeSync(descriptor);
  }
}

/** Offset, length and memory are odd multiples, so that nothing larger divides them. */
function reads(descriptor: number, memory: Uint8Array, alignmentBytes: number): boolean {
  try {
    return (
      readSync(descriptor, memory, alignmentBytes, alignmentBytes, 3 * alignmentBytes) === alignmentBytes
    );
  } catch {
    return false;
  }
}

import { crc32cTable } from "./crc32c-table.js";
import { loadNativeAddon } from "./native-addon.js";

/** CRC32C (Castagnoli) of bytes, as this machine computes it best. */
export interface Checksum {
  /** "sse4.2" or "armv8-crc" for the processor's instruction, "table" for portable code. */
  readonly method: string;
  /** CRC32C of `bytes`; `crc` continues that of the bytes before them and is 0 at the start. Result from 0 to 2^32 - 1. */
  crc32c(bytes: Uint8Array, crc?: number): number;
}

/**
 * Loads the native CRC32C, or the portable one where there is no addon. At 16 KiB the instruction takes about a twentieth
 * of the time of a read (bench/checksum.mjs). Never rejects.
 */
export async function loadChecksum(): Promise<Checksum> {
  const { addon } = await loadNativeAddon();
  if (addon === undefined) return { method: "table", crc32c: crc32cTable() };
  return { method: addon.crc32cMethod, crc32c: (bytes, crc = 0) => addon.crc32c(bytes, crc) };
}

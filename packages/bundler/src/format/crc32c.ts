const POLYNOMIAL_REFLECTED = 0x82f63b78;
const TABLES: Uint32Array = makeTables();

/** Eight tables of 256: table `k` advances a byte that stands `k` bytes before the end of its group of eight. */
function makeTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let value = 0; value < 256; value++) {
    let state = value;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? POLYNOMIAL_REFLECTED : 0);
    tables[value] = state;
  }
  for (let index = 256; index < tables.length; index++) {
    const previous = tables[index - 256]!;
    tables[index] = (previous >>> 8) ^ tables[previous & 255]!;
  }
  return tables;
}

/**
 * CRC32C (Castagnoli, as in iSCSI and ext4) of `bytes`, an unsigned 32-bit number.
 * `previous` is the checksum of the bytes that stand before these, so that a stream can be summed piece by piece.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  const tables = TABLES;
  const end = bytes.length;
  const groupEnd = end - (end % 8);
  let state = ~previous;
  let at = 0;
  for (; at < groupEnd; at += 8) {
    state ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    state =
      tables[1792 + (state & 255)]! ^
      tables[1536 + ((state >>> 8) & 255)]! ^
      tables[1280 + ((state >>> 16) & 255)]! ^
      tables[1024 + (state >>> 24)]! ^
      tables[768 + bytes[at + 4]!]! ^
      tables[512 + bytes[at + 5]!]! ^
      tables[256 + bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < end; at++) state = (state >>> 8) ^ tables[(state ^ bytes[at]!) & 255]!;
  return ~state >>> 0;
}

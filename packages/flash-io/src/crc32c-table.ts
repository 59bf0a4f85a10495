/** Reflected polynomial of CRC32C. */
const POLYNOMIAL = 0x82f63b78;

/** Tables for four bytes at a time: 4 x 256. */
function makeTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let entry = 256; entry < tables.length; entry++) {
    const before = tables[entry - 256]!;
    tables[entry] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}

/** Makes a portable CRC32C: `(bytes, crc)` continues `crc`, 0 at the start. */
export function crc32cTable(): (bytes: Uint8Array, crc?: number) => number {
  const tables = makeTables();
  return (bytes, start = 0) => {
    let crc = ~start;
    let at = 0;
    for (; at + 4 <= bytes.length; at += 4) {
      const word =
        crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
      crc =
        tables[768 + (word & 0xff)]! ^
        tables[512 + ((word >>> 8) & 0xff)]! ^
        tables[256 + ((word >>> 16) & 0xff)]! ^
        tables[word >>> 24]!;
    }
    for (; at < bytes.length; at++) crc = (crc >>> 8) ^ tables[(crc ^ bytes[at]!) & 0xff]!;
    return ~crc >>> 0;
  };
}

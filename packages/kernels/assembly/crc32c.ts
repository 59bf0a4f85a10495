// Command: addresses, order, orderBegin, orderEnd, lengthBytes, checksums. Slicing by eight bytes.
import { CRC_TABLES } from "./layout";
import { recordAt } from "./ffn";

/** Fills the eight tables; called once, before any thread runs. */
export function fillTables(): void {
  for (let value: u32 = 0; value < 256; value++) {
    let crc = value;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
    store<u32>(CRC_TABLES + (value << 2), crc);
  }
  for (let table: u32 = 1; table < 8; table++) {
    for (let value: u32 = 0; value < 256; value++) {
      const before = load<u32>(CRC_TABLES + ((table - 1) << 10) + (value << 2));
      store<u32>(CRC_TABLES + (table << 10) + (value << 2), look(0, before) ^ (before >> 8));
    }
  }
}

// @ts-ignore: decorator
@inline
function look(table: u32, value: u32): u32 {
  return load<u32>(CRC_TABLES + (table << 10) + ((value & 255) << 2));
}

function checksum(pointer: usize, length: u32): u32 {
  let crc: u32 = 0xffffffff;
  for (; length >= 8; length -= 8) {
    const low = load<u32>(pointer) ^ crc;
    const high = load<u32>(pointer, 4);
    crc =
      look(7, low) ^ look(6, low >> 8) ^ look(5, low >> 16) ^ look(4, low >> 24) ^
      look(3, high) ^ look(2, high >> 8) ^ look(1, high >> 16) ^ look(0, high >> 24);
    pointer += 8;
  }
  for (; length > 0; length--) crc = look(0, crc ^ load<u8>(pointer++)) ^ (crc >> 8);
  return ~crc;
}

/** Units are records. */
export function crcUnits(op: usize): i32 {
  return load<i32>(load<u32>(op, 12)) - load<i32>(load<u32>(op, 8));
}

/** Units [first, last). */
export function crc32c(op: usize, first: i32, last: i32): void {
  const begin = load<i32>(load<u32>(op, 8));
  const length = load<u32>(op, 16);
  for (let i = begin + first; i < begin + last; i++) {
    const record = recordAt(load<u32>(op), load<u32>(<usize>load<u32>(op, 4) + (<usize>i << 2)), length);
    if (record) store<u32>(<usize>load<u32>(op, 20) + (<usize>i << 2), checksum(record, length));
  }
}

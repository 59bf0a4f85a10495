import type { KernelOp } from "@flashlm/contracts";
import type { Views } from "./views.js";

const POLYNOMIAL = 0x82f63b78;

/** CRC32C of listed records, bit by bit. */
export function crc32c(op: Extract<KernelOp, { op: "crc32c" }>, views: Views): void {
  const end = views.word(op.orderEnd);
  for (let i = views.word(op.orderBegin); i < end; i++) {
    const record = views.record(op.addresses, views.wordAt(op.order, i), op.lengthBytes);
    let crc = 0xffffffff;
    for (let at = record; at < record + op.lengthBytes; at++) {
      crc ^= views.bytes[at]!;
      for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    }
    views.words[op.checksums.offsetBytes / 4 + i] = ~crc;
  }
}

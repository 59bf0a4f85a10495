import { createPrng } from "@flashlm/contracts/testing";
import { loadChecksum } from "@flashlm/flash-io";
import { afterEach, describe, expect, test, vi } from "vitest";

/** Bit by bit, from the definition: reflected polynomial 0x1edc6f41, inverted at both ends. */
function bitByBit(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const mixed = (crc ^ (byte >>> bit)) & 1;
      crc = (crc >>> 1) ^ (mixed === 1 ? 0x82f63b78 : 0);
    }
  }
  return (crc ^ 0xffffffff) >>> 0;
}

afterEach(() => vi.unstubAllEnvs());

describe.each([
  ["as this machine does it", ""],
  ["portable", "off"],
])("CRC32C %s", (_name, native) => {
  test("agrees with published check values (RFC 3720, B.4)", async () => {
    vi.stubEnv("FLASHLM_NATIVE", native);
    const { crc32c } = await loadChecksum();
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
  });

  test("agrees with the definition at every length and start, and continues", async () => {
    vi.stubEnv("FLASHLM_NATIVE", native);
    const { crc32c, method } = await loadChecksum();
    if (native === "off") expect(method).toBe("table");
    const random = createPrng(5);
    const bytes = Uint8Array.from({ length: 40_000 }, () => random() * 256);
    const lengths = [
      0, 1, 7, 8, 9, 63, 191, 192, 193, 1535, 1536, 1537, 4096, 12_287, 12_288, 12_289, 16_384, 39_990,
    ];
    for (const [turn, lengthBytes] of lengths.entries()) {
      const part = bytes.subarray(turn % 9, (turn % 9) + lengthBytes);
      const expected = bitByBit(part);
      expect(crc32c(part)).toBe(expected);
      const cut = Math.floor(lengthBytes / 3);
      expect(crc32c(part.subarray(cut), crc32c(part.subarray(0, cut)))).toBe(expected);
    }
  });
});

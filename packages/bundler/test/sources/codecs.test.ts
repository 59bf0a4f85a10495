import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HALF_VALUES } from "../../src/codecs/half.js";
import { decodeRow, dequantiseRow, encodeRow } from "../../src/codecs/index.js";

/** Nearest binary16 by exhaustive comparison of neighbours in binary64, ties to the even pattern. */
function nearestHalf(value: number): number {
  let low = 0;
  let high = 0x7c00;
  const size = Math.abs(value);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (HALF_VALUES[middle]! <= size) low = middle;
    else high = middle;
  }
  const above = high === 0x7c00 ? 65536 : HALF_VALUES[high]!;
  const [down, up] = [size - HALF_VALUES[low]!, above - size];
  const bits = down < up || (down === up && low % 2 === 0) ? low : high;
  return bits | (value < 0 || Object.is(value, -0) ? 0x8000 : 0);
}

describe("encodeRow and decodeRow", () => {
  it("rounds to binary16 to nearest even", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.float({ noNaN: true, min: -70000, max: 70000 }),
          fc.float({ noNaN: true, min: -(2 ** -10), max: 2 ** -10 }),
        ),
        (value) => {
          const bytes = new Uint8Array(2);
          encodeRow("f16", Float32Array.of(value), bytes);
          expect(bytes[0]! | (bytes[1]! << 8)).toBe(nearestHalf(value));
          const unaligned = new Uint8Array(4);
          encodeRow("f16", Float32Array.of(value), unaligned.subarray(1, 3));
          expect([...unaligned]).toEqual([0, ...bytes, 0]);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("restores every binary16 and bfloat16 number", () => {
    for (const dtype of ["f16", "bf16"] as const) {
      const patterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
      const bytes = new Uint8Array(patterns.buffer);
      const values = new Float32Array(65536);
      decodeRow(dtype, bytes, values);
      const again = new Uint8Array(bytes.length);
      encodeRow(dtype, values, again);
      const patternsAgain = new Uint16Array(again.buffer);
      for (let bits = 0; bits < 65536; bits++)
        if (!Number.isNaN(values[bits]) && patternsAgain[bits] !== bits)
          expect(patternsAgain[bits]).toBe(bits);
    }
    expect([HALF_VALUES[0x3c00], HALF_VALUES[0x7bff], HALF_VALUES[1]]).toEqual([1, 65504, 2 ** -24]);
  });

  it("writes q8_0 and q4_0 blocks as computed by hand", () => {
    const row = Float32Array.from({ length: 32 }, (_, index) => index - 16);
    const q8 = new Uint8Array(34);
    row[0] = -127;
    row[1] = 2.5;
    row[2] = -2.5;
    encodeRow("q8_0", row, q8);
    expect([...q8.subarray(0, 6)]).toEqual([0x00, 0x3c, 129, 3, 253, 243]);
    const q4 = new Uint8Array(18);
    const levels = Float32Array.from({ length: 32 }, (_, index) => (index % 16) - 8);
    encodeRow("q4_0", levels, q4);
    expect([...q4]).toEqual([0x00, 0x3c, ...Array.from({ length: 16 }, (_, level) => level * 17)]);
    encodeRow(
      "q4_0",
      levels.map((value) => -value),
      q4,
    );
    expect([...q4.subarray(0, 4)]).toEqual([0x00, 0xbc, 0, 17]);
    encodeRow("q8_0", new Float32Array(32), q8);
    expect(q8.every((byte) => byte === 0)).toBe(true);
  });

  it("keeps blocks within half a step of the weights", () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 64, maxLength: 64, noNaN: true, min: -100, max: 100 }),
        (row) => {
          const back = new Float32Array(64);
          const bytes = new Uint8Array(68);
          encodeRow("q8_0", row, bytes);
          decodeRow("q8_0", bytes, back);
          for (let block = 0; block < 64; block += 32) {
            const largest = Math.max(...row.subarray(block, block + 32).map(Math.abs));
            for (let j = block; j < block + 32; j++)
              expect(Math.abs(back[j]! - row[j]!)).toBeLessThanOrEqual(largest / 254 + largest / 1000 + 1e-5);
          }
        },
      ),
    );
  });

  it("refuses unknown types and lengths that do not fit", () => {
    expect(() => dequantiseRow("IQ1_S", new Uint8Array(8), new Float32Array(8))).toThrowError(/IQ1_S/);
    expect(() => encodeRow("q8_0", new Float32Array(33), new Uint8Array(99))).toThrowError(/32/);
    expect(() => decodeRow("f16", new Uint8Array(3), new Float32Array(2))).toThrowError(/4 bytes/);
  });
});

import { expect, it } from "vitest";
import type { KernelSet, MemoryHandle } from "../src/index.js";

const LENGTH_BYTES = 40_000;

/** Cases for memories that copy by themselves. */
export function copyCases(set: () => KernelSet, copies: boolean): void {
  it(copies ? "its memory copies by itself" : "its memory is copied by views alone", () => {
    expect(set().memory.copy !== undefined).toBe(copies);
  });
  if (!copies) return;

  it("copies bytes, also between ranges that overlap, and nothing beside them", () => {
    const { memory } = set();
    const area = memory.allocate(3 * LENGTH_BYTES);
    const bytes = memory.bytes(area, 3 * LENGTH_BYTES);
    const at = (offsetBytes: number): MemoryHandle => ({
      arenaId: area.arenaId,
      offsetBytes: area.offsetBytes + offsetBytes,
    });
    for (const [to, from, length] of [
      [LENGTH_BYTES, 0, LENGTH_BYTES],
      [2 * LENGTH_BYTES + 1, 3, 4097],
      [17, 0, LENGTH_BYTES],
      [0, 17, LENGTH_BYTES],
      [5, 9, 0],
    ] as const) {
      for (let index = 0; index < bytes.length; index++) bytes[index] = (index * 31 + (index >> 8)) & 255;
      const wanted = bytes.slice();
      wanted.copyWithin(to, from, from + length);
      memory.copy!(at(to), at(from), length);
      expect(Buffer.compare(bytes, wanted), `${length} bytes from ${from} to ${to}`).toBe(0);
    }
  });

  it("refuses to copy from or to where its memory is not", () => {
    const { memory } = set();
    const inside = memory.allocate(64);
    const { lengthBytes } = memory.arenas[0]!;
    const refusal = expect.objectContaining({ code: "KERNEL_MEMORY" });
    for (const outside of [lengthBytes - 63, lengthBytes, -1, Number.NaN]) {
      const handle = { arenaId: inside.arenaId, offsetBytes: outside };
      expect(() => memory.copy!(inside, handle, 64)).toThrow(refusal);
      expect(() => memory.copy!(handle, inside, 64)).toThrow(refusal);
    }
    expect(() => memory.copy!(inside, inside, -1)).toThrow(refusal);
    expect(() => memory.copy!({ arenaId: inside.arenaId + 1, offsetBytes: 0 }, inside, 64)).toThrow(refusal);
  });
}

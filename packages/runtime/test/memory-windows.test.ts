import { type KernelMemory, type MemoryHandle, ReadBatch } from "@flashlm/contracts";
import { createMemoryReader } from "@flashlm/flash-io";
import { loadKernels } from "@flashlm/kernels";
import { afterAll, describe, expect, it } from "vitest";
import { attachMemory, memoryCopy } from "../src/memory-windows.js";

const MEMORY_BYTES = 1 << 20;
const SIZES = { windowBytes: 300_032, overlapBytes: 65_536 };
const READ_BYTES_MAX = 65_536;

const file = Uint8Array.from({ length: 200_000 }, (_, index) => (index * 31 + (index >> 8)) & 255);
const kernels = await loadKernels({ target: "reference", memoryBytes: 9 << 20, threadCount: 1 });
afterAll(() => kernels.close());

/** The first bytes of a kernel set's memory, as if no view could span them all. */
function shortViews(): { memory: KernelMemory; all: Uint8Array } {
  const all = kernels.memory.bytes({ arenaId: 0, offsetBytes: 0 }, MEMORY_BYTES);
  const memory: KernelMemory = {
    arenas: [{ arenaId: 0, lengthBytes: MEMORY_BYTES }],
    allocate: () => ({ arenaId: 0, offsetBytes: 0 }),
    bytes: (handle, lengthBytes) => {
      if (lengthBytes > SIZES.windowBytes) throw new RangeError("a view may not be so long");
      return kernels.memory.bytes(handle, lengthBytes);
    },
    floats: (handle, count) => kernels.memory.floats(handle, count),
    words: (handle, count) => kernels.memory.words(handle, count),
  };
  return { memory, all };
}

describe("a memory longer than a view", () => {
  it("receives reads anywhere, across every border of windows", async () => {
    const { memory, all } = shortViews();
    const inner = await createMemoryReader([{ path: "file", bytes: file }]);
    const reader = attachMemory(inner, memory, SIZES);
    expect(reader).not.toBe(inner);
    const lengths = [1, 4096, 30_001, READ_BYTES_MAX];
    for (let start = 0; start + READ_BYTES_MAX <= MEMORY_BYTES; start += 13_001) {
      const lengthBytes = lengths[start % lengths.length]!;
      const batch = new ReadBatch(1);
      batch.push(0, start % 1000, lengthBytes, { arenaId: 0, offsetBytes: start });
      reader.submit(batch).waitAll();
      expect(batch.targetOffsetBytes[0]).toBe(start);
      const got = all.subarray(start, start + lengthBytes);
      expect(Buffer.compare(got, file.subarray(start % 1000, (start % 1000) + lengthBytes))).toBe(0);
    }
    await reader.close();
  });

  it("is copied within, from one window to another", () => {
    const { memory, all } = shortViews();
    const copy = memoryCopy(memory, SIZES);
    all.set(file.subarray(0, 5000), 1000);
    copy(900_000, 1000, 5000);
    expect(Buffer.compare(all.subarray(900_000, 905_000), file.subarray(0, 5000))).toBe(0);
  });

  it("is copied within by the memory itself, where that can", () => {
    const { memory } = shortViews();
    const calls: number[][] = [];
    const own = {
      ...memory,
      copy: (to: MemoryHandle, from: MemoryHandle, lengthBytes: number) => {
        calls.push([to.arenaId, to.offsetBytes, from.arenaId, from.offsetBytes, lengthBytes]);
      },
    };
    memoryCopy(own, SIZES)(900_000, 1000, 5000);
    expect(calls).toEqual([[0, 900_000, 0, 1000, 5000]]);
  });

  it("is one arena where a view spans it", async () => {
    const inner = await createMemoryReader([{ path: "file", bytes: file }]);
    expect(attachMemory(inner, kernels.memory)).toBe(inner);
    await inner.close();
  });
});

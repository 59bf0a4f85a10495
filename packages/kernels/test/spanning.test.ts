import type { KernelSet, MemoryHandle } from "@flashlm/contracts";
import { createWasmKernels, kernelMemoryBytes, kernelOverheadBytes } from "@flashlm/kernels";
import { expect, it } from "vitest";
import { makeScene, TOKENS } from "./support/scene.js";

const GIB = 2 ** 30;
/** Memories of which the scene's longest operands fill most, with 32 KiB for what lies elsewhere: everything has to be cut. */
const SEGMENT_BYTES = 2 ** 18;
const COLUMNS = { columnCountMax: 320 };
const MEMORY_BYTES = 6 * 2 ** 20;

function tiny(threadCount: number, placement: "sized" | "scattered" = "scattered"): Promise<KernelSet> {
  const options = { ...COLUMNS, threadCount, memoryBytes: MEMORY_BYTES };
  return createWasmKernels({ ...options, segmentBytes: SEGMENT_BYTES, placement });
}

async function bitsOf(
  creating: Promise<KernelSet>,
  rotation: number,
  tokens: number,
): Promise<Uint32Array[]> {
  const set = await creating;
  const scene = makeScene(set, rotation, tokens);
  const program = set.compile(scene.ops);
  await set.run(program);
  await set.run(program);
  const bits = scene.results();
  await set.close();
  return bits;
}

it.each([TOKENS, 1])(
  "several memories give the bits of one, wherever operands lie: %i tokens",
  async (tokens) => {
    const one = createWasmKernels({ ...COLUMNS, threadCount: 1, memoryBytes: MEMORY_BYTES });
    const expected = await bitsOf(one, 0, tokens);
    expect(expected.every((words) => words.some((value) => value !== 0))).toBe(true);
    expect(await bitsOf(tiny(2, "sized"), 0, tokens)).toEqual(expected);
    for (const rotation of [0, 1, 2, 3, 5, 8, 13]) {
      expect(await bitsOf(tiny(1 + (rotation % 3)), rotation, tokens)).toEqual(expected);
    }
  },
);

it("runs many programs in many memories on three threads", async () => {
  const set = await tiny(3);
  const tokenCount = set.memory.allocate(4);
  set.memory.words(tokenCount, 1)[0] = 1;
  const pairs = Array.from({ length: 40 }, () => [set.memory.allocate(4096), set.memory.allocate(4096)]);
  const programs = pairs.map(([source, target]) => {
    set.memory.floats(source!, 1024).fill(1);
    return set.compile([{ op: "add", tokenCount, dim: 1024, scale: 1, source: source!, target: target! }]);
  });
  for (let round = 1; round <= 50; round++) {
    for (const program of programs) set.run(program);
    if (round % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  for (const [, target] of pairs)
    expect(set.memory.floats(target!, 1024).every((value) => value === 50)).toBe(true);
  await set.close();
});

it("refuses what no memory can hold, and wrong words without breaking down", async () => {
  const set = await tiny(2);
  const { memory } = set;
  expect(() => memory.allocate(SEGMENT_BYTES)).toThrow(expect.objectContaining({ code: "KERNEL_MEMORY" }));
  expect(() => memory.allocate(MEMORY_BYTES)).toThrow(expect.objectContaining({ code: "KERNEL_MEMORY" }));
  const last = { arenaId: 0, offsetBytes: SEGMENT_BYTES - 64 };
  expect(() => memory.bytes(last, 128)).toThrow(expect.objectContaining({ code: "KERNEL_MEMORY" }));
  const tokenCount = memory.allocate(4);
  const [source, target] = [memory.allocate(100_000), memory.allocate(100_000)];
  const row = { tokenCount, dim: 25_000, source, target } as const;
  const softmax = { op: "softmax", tokenCount, dim: 25_000, temperature: 1, vector: source } as const;
  const argmax = { op: "argmax", ...row } as const;
  memory.words(tokenCount, 1)[0] = 1;
  set.run(set.compile([softmax, argmax]));
  expect(memory.words(target, 1)[0]).toBe(0);
  const norm = { op: "norm", kind: "rms", ...row, rowsPerToken: 1, epsilon: 0 } as const;
  const program = set.compile([{ ...norm, weight: memory.allocate(100_000) }]);
  expect(() => set.run(program)).toThrow(expect.objectContaining({ code: "KERNEL_NOT_SUPPORTED" }));
  memory.words(tokenCount, 1)[0] = 1_000_000;
  expect(() => set.run(set.compile([argmax]))).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
  const record = memory.allocate(64);
  const word = (value: number): MemoryHandle => {
    const handle = memory.allocate(4);
    memory.words(handle, 1)[0] = value;
    return handle;
  };
  const range = {
    order: word(0),
    orderBegin: word(0),
    orderEnd: word(1),
    lengthBytes: 64,
    checksums: word(0),
  };
  for (const unit of [0, 2 ** 32 - 1, SEGMENT_BYTES / 16 - 1]) {
    const crc = set.compile([{ op: "crc32c", addresses: word(unit), ...range }]);
    expect(() => set.run(crc)).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
  }
  set.run(set.compile([{ op: "crc32c", addresses: word(record.offsetBytes / 16), ...range }]));
  expect(memory.words(range.checksums, 1)[0]).not.toBe(0);
  await set.close();
});

it("spans more than 4 GiB: allocates and computes in every memory", async () => {
  const memoryBytes = 10 * GIB;
  const set = await createWasmKernels({ memoryBytes, threadCount: 2 });
  const { memory } = set;
  const { segmentBytes, arenas } = memory;
  expect(segmentBytes).toBe(2 ** 32 - 65536);
  const memoryCount = arenas[0]!.lengthBytes / segmentBytes!;
  expect(memoryCount).toBe(5);
  const tokenCount = memory.allocate(4);
  memory.words(tokenCount, 1)[0] = 1;
  const [source, target] = [memory.allocate(32), memory.allocate(8)];
  memory.floats(source, 8).set([1, 2, 3, 4, 5, 6, 7, 8]);
  // Address space only: no page is touched but those at the ends.
  const blocks = Array.from({ length: 9 }, () => memory.allocate(GIB, 4096));
  const visited = new Set(blocks.map(({ offsetBytes }) => Math.floor(offsetBytes / segmentBytes!)));
  expect(visited.size).toBe(3);
  for (const [i, block] of blocks.entries()) {
    const offsetBytes = block.offsetBytes + GIB - 64;
    memory.floats({ arenaId: 0, offsetBytes }, 16).fill(i + 1, 8);
    const addressWord = memory.allocate(16);
    memory.words(addressWord, 1)[0] = block.offsetBytes / 16;
    const base = { addressWord, offsetBytes: GIB - 64 };
    const weight = { dtype: "f32", rowCount: 2, columnCount: 8, base } as const;
    set.run(set.compile([{ op: "matmul", tokenCount, weight, source, target, accumulate: false }]));
    expect([...memory.floats(target, 2)]).toEqual([0, 36 * (i + 1)]);
  }
  expect(() => memory.allocate(2 * GIB)).toThrow(expect.objectContaining({ code: "KERNEL_MEMORY" }));
  await set.close();
});

it("counts the working memory of every memory", () => {
  const needs = { threadCount: 2, columnCountMax: 4096 };
  const single = kernelOverheadBytes(needs);
  expect(kernelOverheadBytes({ ...needs, memoryBytes: 4 * GIB - 65536 })).toBe(single);
  // Three of 4 GiB for 6.7 GB beside the first, at three quarters each.
  const several = kernelOverheadBytes({ ...needs, memoryBytes: 6.7e9 });
  expect(several).toBeGreaterThanOrEqual(4 * (single + 4 * 2 ** 20));
  expect(several).toBeLessThan(20 * 2 ** 20);
  expect(kernelMemoryBytes(6.7e9, needs)).toBe(6.7e9 + several);
  expect(kernelMemoryBytes(1000, needs)).toBe(1000 + single);
});

import type { KernelOp, KernelSet, MemoryHandle, RecordLayout, WeightDtype } from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import { createWasmKernels, KERNEL_OVERHEAD_BYTES } from "@flashlm/kernels";
import { describe, expect, it } from "vitest";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0"];
const TOKENS = 5;
const HIDDEN = 96;
const COUNT = 23;

function fill(
  set: KernelSet,
  dtype: WeightDtype,
  handle: MemoryHandle,
  count: number,
  random: () => number,
): void {
  const bytes = set.memory.bytes(handle, rowBytes(dtype, count));
  for (let i = 0; i < bytes.length; i++) bytes[i] = random() * 256;
  const [step, first, top] = {
    f32: [4, 3, 0x3f],
    f16: [2, 1, 0x38],
    bf16: [2, 1, 0x3f],
    q8_0: [34, 1, 0x20],
    q4_0: [18, 1, 0x28],
  }[dtype] as [number, number, number];
  for (let i = first; i < bytes.length; i += step) bytes[i] = top | (random() < 0.5 ? 128 : 0);
}

/** Runs matmul, activations, down and scores on tokens `first ..` and returns all results. */
async function results(
  dtype: WeightDtype,
  threadCount: number,
  first: number,
  tokenCount: number,
): Promise<Uint32Array[]> {
  const set = await createWasmKernels({ memoryBytes: KERNEL_OVERHEAD_BYTES + 2 ** 20, threadCount });
  const { memory } = set;
  const random = createPrng(99);
  const word = (value: number): MemoryHandle => {
    const handle = memory.allocate(4);
    memory.words(handle, 1)[0] = value;
    return handle;
  };
  const lengthBytes = rowBytes(dtype, HIDDEN);
  const strideBytes = Math.ceil(lengthBytes / 16) * 16 * 3;
  const parts = (["gate", "up", "down"] as const).map((part, i) => ({
    part,
    dtype,
    lengthBytes,
    offsetBytes: (strideBytes / 3) * i,
  }));
  const layout: RecordLayout = { hiddenSize: HIDDEN, strideBytes, parts };
  const weight = memory.allocate(lengthBytes * COUNT);
  fill(set, dtype, weight, HIDDEN * COUNT, random);
  const addresses = memory.allocate(COUNT * 4);
  for (let i = 0; i < COUNT; i++) {
    const record = memory.allocate(strideBytes);
    memory.words(addresses, COUNT)[i] = record.offsetBytes / 16;
    for (const { offsetBytes } of parts)
      fill(set, dtype, { arenaId: 0, offsetBytes: record.offsetBytes + offsetBytes }, HIDDEN, random);
  }
  const order = memory.allocate(COUNT * 4);
  memory.words(order, COUNT).set(Array.from({ length: COUNT }, (_, i) => i));
  const all = Float32Array.from({ length: TOKENS * HIDDEN }, () => random() - 0.5);
  const source = memory.allocate(tokenCount * HIDDEN * 4);
  memory.floats(source, tokenCount * HIDDEN).set(all.subarray(first * HIDDEN, (first + tokenCount) * HIDDEN));
  const [target, activation, scores] = [0, 1, 2].map(() => memory.allocate(tokenCount * COUNT * 4)) as [
    MemoryHandle,
    MemoryHandle,
    MemoryHandle,
  ];
  const residual = memory.allocate(tokenCount * HIDDEN * 4);
  const tokens = word(tokenCount);
  const matrix = { dtype, rowCount: COUNT, columnCount: HIDDEN, base: weight };
  const act = { activationFn: { name: "relu", threshold: 0 }, upActivation: "none" } as const;
  const list = { ids: order, order, orderBegin: word(0), orderEnd: word(COUNT) };
  const ops: KernelOp[] = [
    { op: "matmul", tokenCount: tokens, weight: matrix, source, target, accumulate: false },
    {
      op: "ffnActivations",
      tokenCount: tokens,
      layout,
      ...act,
      addresses,
      ...list,
      source,
      activation,
      activationStride: COUNT,
    },
    {
      op: "ffnDown",
      tokenCount: tokens,
      layout,
      addresses,
      positionCount: word(COUNT),
      activation,
      activationStride: COUNT,
      target: residual,
    },
    {
      op: "neuronScores",
      kind: "product",
      tokenCount: tokens,
      gate: matrix,
      up: matrix,
      ...act,
      source,
      scores,
    },
  ];
  const program = set.compile(ops);
  set.run(program);
  const out = [target, activation, scores].map((handle) => memory.words(handle, tokenCount * COUNT).slice());
  out.push(memory.words(residual, tokenCount * HIDDEN).slice());
  await set.close();
  return out;
}

describe("results do not depend on how the work is cut", () => {
  it.each(DTYPES)("%s: tokens together or alone, one to three threads, bit by bit", async (dtype) => {
    const together = await results(dtype, 1, 0, TOKENS);
    expect(together.every((words) => words.some((value) => value !== 0))).toBe(true);
    for (const threadCount of [2, 3]) expect(await results(dtype, threadCount, 0, TOKENS)).toEqual(together);
    for (const [token, threadCount] of [
      [0, 1],
      [3, 2],
      [4, 3],
    ] as const) {
      const alone = await results(dtype, threadCount, token, 1);
      alone.forEach((words, i) => {
        expect(words).toEqual(together[i]!.slice(token * words.length, (token + 1) * words.length));
      });
    }
  });
});

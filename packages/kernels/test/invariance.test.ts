import type {
  DotPrecision,
  KernelOp,
  KernelSet,
  KernelSetOptions,
  MemoryHandle,
  RecordLayout,
  WeightDtype,
} from "@flashlm/contracts";
import { rowBytes } from "@flashlm/contracts";
import { createPrng } from "@flashlm/contracts/testing";
import {
  createNativeKernels,
  createWasmKernels,
  KERNEL_OVERHEAD_BYTES,
  nativeVariants,
  wasmVariants,
} from "@flashlm/kernels";
import { describe, expect, it } from "vitest";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
const TOKENS = 5;
const HIDDEN = 96;
const HEAD_DIM = 32;
const CAPACITY = 16;
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
    q4_1: [20, 1, 0x28],
  }[dtype] as [number, number, number];
  for (let i = first; i < bytes.length; i += step) bytes[i] = top | (random() < 0.5 ? 128 : 0);
}

function word(set: KernelSet, value: number): MemoryHandle {
  const handle = set.memory.allocate(4);
  set.memory.words(handle, 1)[0] = value;
  return handle;
}

interface Pieces {
  readonly layout: RecordLayout;
  readonly weight: MemoryHandle;
  readonly addresses: MemoryHandle;
  readonly order: MemoryHandle;
  readonly source: MemoryHandle;
  readonly caches: readonly [MemoryHandle, MemoryHandle];
}

/** Weights, records, caches and the activations of tokens `first ..`, the same for every set. */
function prepare(
  set: KernelSet,
  dtype: WeightDtype,
  hidden: number,
  first: number,
  tokenCount: number,
): Pieces {
  const { memory } = set;
  const random = createPrng(99);
  const lengthBytes = rowBytes(dtype, hidden);
  const strideBytes = Math.ceil(lengthBytes / 16) * 16 * 3;
  const parts = (["gate", "up", "down"] as const).map((part, i) => ({
    part,
    dtype,
    lengthBytes,
    offsetBytes: (strideBytes / 3) * i,
  }));
  const layout: RecordLayout = { hiddenSize: hidden, strideBytes, parts };
  const weight = memory.allocate(lengthBytes * COUNT);
  fill(set, dtype, weight, hidden * COUNT, random);
  const addresses = memory.allocate(COUNT * 4);
  for (let i = 0; i < COUNT; i++) {
    const record = memory.allocate(strideBytes);
    memory.words(addresses, COUNT)[i] = record.offsetBytes / 16;
    for (const { offsetBytes } of parts)
      fill(set, dtype, { arenaId: 0, offsetBytes: record.offsetBytes + offsetBytes }, hidden, random);
  }
  const order = memory.allocate(COUNT * 4);
  memory.words(order, COUNT).set(Array.from({ length: COUNT }, (_, i) => i));
  const all = Float32Array.from({ length: TOKENS * hidden }, () => random() - 0.5);
  const source = memory.allocate(tokenCount * hidden * 4);
  memory.floats(source, tokenCount * hidden).set(all.subarray(first * hidden, (first + tokenCount) * hidden));
  const caches = [0, 1].map(() => {
    const cache = memory.allocate(CAPACITY * HEAD_DIM * 4);
    const values = memory.floats(cache, CAPACITY * HEAD_DIM);
    for (let i = 0; i < values.length; i++) values[i] = random() - 0.5;
    return cache;
  }) as [MemoryHandle, MemoryHandle];
  return { layout, weight, addresses, order, source, caches };
}

type Create = (options: KernelSetOptions) => Promise<KernelSet>;

/** What stays the same while the work is cut in other ways. */
interface Invariant {
  readonly create: Create;
  readonly dtype: WeightDtype;
  readonly hidden: number;
  readonly precision: DotPrecision;
}

/** Runs matmul, activations, down, scores and attention on tokens `first ..` and returns all results. */
async function results(
  { create, dtype, hidden, precision }: Invariant,
  threadCount: number,
  first: number,
  tokenCount: number,
): Promise<Uint32Array[]> {
  const set = await create({ memoryBytes: KERNEL_OVERHEAD_BYTES + 2 ** 20, threadCount });
  const { memory } = set;
  const pieces = prepare(set, dtype, hidden, first, tokenCount);
  const { layout, weight, addresses, order, source, caches } = pieces;
  const [target, activation, scores] = [0, 1, 2].map(() => memory.allocate(tokenCount * COUNT * 4)) as [
    MemoryHandle,
    MemoryHandle,
    MemoryHandle,
  ];
  const residual = memory.allocate(tokenCount * hidden * 4);
  const attended = memory.allocate(tokenCount * hidden * 4);
  const tokens = word(set, tokenCount);
  const matrix = { dtype, rowCount: COUNT, columnCount: hidden, base: weight };
  const act = { activationFn: { name: "relu", threshold: 0 }, upActivation: "none" } as const;
  const list = { ids: order, order, orderBegin: word(set, 0), orderEnd: word(set, COUNT) };
  const ffn = { tokenCount: tokens, layout, addresses, activation, activationStride: COUNT };
  const heads = {
    position: word(set, 3 + first),
    keyCache: caches[0],
    valueCache: caches[1],
    headCount: hidden / HEAD_DIM,
    keyValueHeadCount: 1,
    headDim: HEAD_DIM,
    scale: 0.2,
    window: null,
    capacityTokens: CAPACITY,
  };
  const ops: KernelOp[] = [
    { op: "matmul", precision, tokenCount: tokens, weight: matrix, source, target, accumulate: false },
    { op: "ffnActivations", precision, ...ffn, ...act, ...list, source },
    { op: "ffnDown", ...ffn, positionCount: list.orderEnd, target: residual },
    {
      op: "neuronScores",
      precision,
      kind: "product",
      tokenCount: tokens,
      gate: matrix,
      up: matrix,
      ...act,
      source,
      scores,
    },
    { op: "attention", tokenCount: tokens, query: source, target: attended, ...heads },
  ];
  const program = set.compile(ops);
  set.run(program);
  const out = [target, activation, scores].map((handle) => memory.words(handle, tokenCount * COUNT).slice());
  out.push(memory.words(residual, tokenCount * hidden).slice());
  out.push(memory.words(attended, tokenCount * hidden).slice());
  await set.close();
  return out;
}

/** Tokens together or alone, one to three threads. */
async function checkInvariant(invariant: Invariant): Promise<void> {
  const together = await results(invariant, 1, 0, TOKENS);
  expect(together.every((words) => words.some((value) => value !== 0))).toBe(true);
  for (const threadCount of [2, 3])
    expect(await results(invariant, threadCount, 0, TOKENS)).toEqual(together);
  for (const [token, threadCount] of [
    [0, 1],
    [3, 2],
    [4, 3],
  ] as const) {
    const alone = await results(invariant, threadCount, token, 1);
    alone.forEach((words, i) => {
      expect(words).toEqual(together[i]!.slice(token * words.length, (token + 1) * words.length));
    });
  }
}

const CASES = [...DTYPES.map((dtype) => [dtype, HIDDEN] as const), ["q8_0", 576] as const];

describe.each(wasmVariants())("WASM results do not depend on how the work is cut: %s", (variant) => {
  const create: Create = (options) => createWasmKernels({ ...options, variant });
  it.each(CASES)("%s, %i columns", async (dtype, hidden) => {
    for (const precision of ["f32", "q8"] as const) {
      await checkInvariant({ create, dtype, hidden, precision });
    }
  });
});

const variants = (await nativeVariants()).filter(({ missing }) => missing === "");
describe.each(variants)("native results do not depend on how the work is cut: $name", ({ name }) => {
  const create: Create = (options) => createNativeKernels({ ...options, variant: name });
  it.each(CASES)("%s, %i columns", async (dtype, hidden) => {
    for (const precision of ["f32", "q8"] as const) {
      await checkInvariant({ create, dtype, hidden, precision });
    }
  });
});

import type { KernelOp, KernelSet, MemoryHandle, WeightDtype } from "@flashlm/contracts";
import { isBlockDtype, rowBytes } from "@flashlm/contracts";
import { kernelOverheadBytes } from "./limits.js";
import { createReferenceKernels } from "./reference/kernels.js";

/** Heap of the small sets that the self-test makes. */
const HEAP_BYTES = 65536;
const ROW_COUNT = 5;
const COLUMN_COUNT = 64;
const TOKEN_COUNT = 2;
/** f32 sums of 64 products of numbers below 8, far below any fault that matters. */
const TOLERANCE = 1e-3;

interface Pieces {
  readonly dtype: WeightDtype;
  readonly tokens: MemoryHandle;
  readonly weight: MemoryHandle;
  readonly source: MemoryHandle;
  readonly target: MemoryHandle;
  readonly scores: MemoryHandle;
}

/** Bytes of weights: every pattern of small, finite numbers that the dtype has in this range. */
function fillWeights(dtype: WeightDtype, bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 37 + 11) & 255;
  if (isBlockDtype(dtype)) {
    const block = rowBytes(dtype, 32);
    for (let i = 0; i < bytes.length; i += block) {
      bytes.set([i & 255, 0x20], i);
      if (dtype === "q4_1") bytes.set([i & 255, 0xac], i + 2);
    }
  } else {
    // The top byte holds sign and most of the exponent: numbers between 0.01 and 2.
    const width = dtype === "f32" ? 4 : 2;
    const top = dtype === "f16" ? 0x38 : 0x3f;
    for (let i = width - 1; i < bytes.length; i += width) bytes[i] = top | (i % 3 === 0 ? 128 : 0);
  }
}

function prepare(set: KernelSet, dtype: WeightDtype): Pieces {
  const { memory } = set;
  const lengthBytes = ROW_COUNT * rowBytes(dtype, COLUMN_COUNT);
  const pieces = {
    dtype,
    tokens: memory.allocate(4),
    weight: memory.allocate(lengthBytes),
    source: memory.allocate(TOKEN_COUNT * COLUMN_COUNT * 4),
    target: memory.allocate(TOKEN_COUNT * ROW_COUNT * 4),
    scores: memory.allocate(TOKEN_COUNT * ROW_COUNT * 4),
  };
  memory.words(pieces.tokens, 1)[0] = TOKEN_COUNT;
  fillWeights(dtype, memory.bytes(pieces.weight, lengthBytes));
  const source = memory.floats(pieces.source, TOKEN_COUNT * COLUMN_COUNT);
  for (let i = 0; i < source.length; i++) source[i] = ((i * 13) % 29) / 29 - 0.5;
  return pieces;
}

function opsOf(pieces: Pieces): KernelOp[] {
  const { dtype, tokens, weight, source, target, scores } = pieces;
  const matrix = { dtype, rowCount: ROW_COUNT, columnCount: COLUMN_COUNT, base: weight };
  const activationFn = { name: "silu", threshold: 0 } as const;
  return [
    { op: "matmul", tokenCount: tokens, weight: matrix, source, target, accumulate: false },
    {
      op: "neuronScores",
      kind: "gate",
      tokenCount: tokens,
      gate: matrix,
      activationFn,
      upActivation: "none",
      source,
      scores,
    },
  ];
}

/**
 * Runs small programs of every dtype on a set made by `create` and on the reference.
 * Returns what differs, or "" when the target can be trusted.
 */
export async function selfTest(create: (memoryBytes: number) => Promise<KernelSet>): Promise<string> {
  const memoryBytes = kernelOverheadBytes({ threadCount: 1 }) + HEAP_BYTES;
  const reference = await createReferenceKernels({ memoryBytes, threadCount: 1 });
  const tested = await create(memoryBytes);
  try {
    for (const dtype of ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"] as const) {
      const results: Float32Array[] = [];
      for (const set of [reference, tested]) {
        const pieces = prepare(set, dtype);
        await set.run(set.compile(opsOf(pieces)));
        const count = TOKEN_COUNT * ROW_COUNT;
        results.push(
          Float32Array.of(
            ...set.memory.floats(pieces.target, count),
            ...set.memory.floats(pieces.scores, count),
          ),
        );
      }
      const [expected, got] = results as [Float32Array, Float32Array];
      const wrong = expected.findIndex(
        (value, i) => !(Math.abs(value - got[i]!) <= TOLERANCE * (1 + Math.abs(value))),
      );
      if (wrong >= 0) return `${dtype}: expected ${expected[wrong]}, got ${got[wrong]}`;
    }
    return "";
  } finally {
    await tested.close();
    await reference.close();
  }
}

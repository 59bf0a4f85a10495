import type { KernelProgram, KernelSet, MemoryHandle, WordRef } from "@flashlm/contracts";

/** Rows and columns of a product that takes a thread no time. */
const SIDE = 16;
/** Between two uses of the same weights: what the tokens of small models take. */
const APART_MS = 8;

/**
 * Lets time pass between two uses of weights, as it does in a run, where a token's other work lies between: a cache that is large and shared has
 * lost them by then. Threads stay awake, as they are in a run.
 */
export class Apart {
  readonly #kernels: KernelSet;
  readonly #program: KernelProgram;

  /** @throws KERNEL_MEMORY where not even 2 KiB are left. */
  constructor(kernels: KernelSet) {
    const { memory } = kernels;
    const zeros = (count: number): MemoryHandle => {
      const handle = memory.allocate(4 * count);
      memory.floats(handle, count).fill(0);
      return handle;
    };
    const tokenCount: WordRef = memory.allocate(16, 16);
    memory.words(tokenCount, 1)[0] = 1;
    const weight = { dtype: "f32", rowCount: SIDE, columnCount: SIDE, base: zeros(SIDE * SIDE) } as const;
    this.#kernels = kernels;
    this.#program = kernels.compile([
      { op: "matmul", tokenCount, weight, source: zeros(SIDE), target: zeros(SIDE), accumulate: false },
    ]);
  }

  /** Returns once so long has passed since `begin`, a time of `performance.now()`. */
  async since(begin: number): Promise<void> {
    while (performance.now() - begin < APART_MS) await this.#kernels.run(this.#program);
  }
}

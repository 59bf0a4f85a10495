import type {
  KernelOp,
  KernelProgram,
  KernelSet,
  MemoryHandle,
  WeightDtype,
  WordRef,
} from "@flashlm/contracts";
import { alignUp } from "@flashlm/contracts";

/** Sizes that a workspace is made for; heads up to them are trained in it one after the other. */
export interface HeadShape {
  readonly hiddenSize: number;
  readonly neuronCount: number;
  readonly rank: number;
  readonly batchTokens: number;
}

/** A matrix in kernel memory, f32 row-major. */
export interface Matrix {
  readonly handle: MemoryHandle;
  readonly floats: Float32Array;
}

/** One product: `target[t, r] (+)= dot(weight[r], source[t]) + bias[r]`, weight `[rowCount, columnCount]`, source `[tokenCount, columnCount]`. */
export interface Product {
  readonly weight: MemoryHandle;
  readonly rowCount: number;
  readonly columnCount: number;
  readonly source: MemoryHandle;
  readonly tokenCount: number;
  readonly target: MemoryHandle;
  readonly bias?: MemoryHandle;
  readonly accumulate?: boolean;
  readonly dtype?: WeightDtype;
}

/** Kernel memory that is given out once and used for every head, and matrix products over it. */
export class Workspace {
  readonly kernels: KernelSet;
  readonly #words = new Map<number, WordRef>();

  constructor(kernels: KernelSet) {
    this.kernels = kernels;
  }

  /** @throws KERNEL_MEMORY when the arena was made too small. */
  matrix(elementCount: number): Matrix {
    const handle = this.kernels.memory.allocate(alignUp(elementCount * 4, 64));
    return { handle, floats: this.kernels.memory.floats(handle, elementCount) };
  }

  /** A kernel word that holds `count`. */
  word(count: number): WordRef {
    const found = this.#words.get(count);
    if (found) return found;
    const made = this.kernels.memory.allocate(16, 16);
    this.kernels.memory.words(made, 1)[0] = count;
    this.#words.set(count, made);
    return made;
  }

  /** The op of a product. */
  product(product: Product): KernelOp {
    const {
      weight,
      rowCount,
      columnCount,
      source,
      target,
      bias,
      accumulate = false,
      dtype = "f32",
    } = product;
    return {
      op: "matmul",
      tokenCount: this.word(product.tokenCount),
      weight: { dtype, rowCount, columnCount, base: weight },
      source,
      target,
      accumulate,
      ...(bias ? { bias } : {}),
    };
  }

  /** Compiles ops that will run often. */
  compile(...ops: readonly KernelOp[]): KernelProgram {
    return this.kernels.compile(ops);
  }

  /** Runs a program to its end. */
  async run(program: KernelProgram): Promise<void> {
    const running = this.kernels.run(program);
    if (running) await running;
  }

  /** Compiles and runs one product. */
  async multiply(product: Product): Promise<void> {
    await this.run(this.compile(this.product(product)));
  }
}

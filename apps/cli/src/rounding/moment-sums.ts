import type { InputMoments } from "@flashlm/bundler";
import { alignUp, type KernelProgram, type KernelSet, type MemoryHandle } from "@flashlm/contracts";

/** Room for alignment and the words of a program. */
const SLACK_BYTES = 4096;

/** Kernel memory that a {@link MomentSummer} takes. */
export function momentBytes(groupWidth: number, chunkTokens: number): number {
  return groupWidth * (chunkTokens + groupWidth) * 4 + SLACK_BYTES;
}

/** Sums of products of one layer's neighbouring inputs over tokens. */
export interface MomentSums {
  /** f32 `[hiddenSize, groupWidth]`. */
  readonly values: Float32Array;
  tokenCount: number;
}

/** Adds tokens to sums: a matrix product of the inputs with themselves. */
export class MomentSummer {
  readonly #kernels: KernelSet;
  readonly #hiddenSize: number;
  readonly #groupWidth: number;
  readonly #chunkTokens: number;
  readonly #columns: Float32Array;
  readonly #products: Float32Array;
  readonly #program: KernelProgram;

  /** @param groupWidth - divides `hiddenSize`. @param chunkTokens - tokens of a product; at most `hiddenSize`. Kernels stay the caller's. */
  constructor(kernels: KernelSet, hiddenSize: number, groupWidth: number, chunkTokens: number) {
    this.#kernels = kernels;
    this.#hiddenSize = hiddenSize;
    this.#groupWidth = groupWidth;
    this.#chunkTokens = chunkTokens;
    const { memory } = kernels;
    const matrix = (count: number): MemoryHandle => memory.allocate(alignUp(count * 4, 64));
    const columns = matrix(groupWidth * chunkTokens);
    const products = matrix(groupWidth * groupWidth);
    const rowCount = memory.allocate(16, 16);
    memory.words(rowCount, 1)[0] = groupWidth;
    this.#columns = memory.floats(columns, groupWidth * chunkTokens);
    this.#products = memory.floats(products, groupWidth * groupWidth);
    this.#program = kernels.compile([
      {
        op: "matmul",
        tokenCount: rowCount,
        weight: { dtype: "f32", rowCount: groupWidth, columnCount: chunkTokens, base: columns },
        source: columns,
        target: products,
        accumulate: false,
      },
    ]);
  }

  /** Empty sums of a layer. */
  empty(): MomentSums {
    return { values: new Float32Array(this.#hiddenSize * this.#groupWidth), tokenCount: 0 };
  }

  /** Adds `inputs`, f32 `[tokenCount, hiddenSize]`, borrowed. */
  add(sums: MomentSums, inputs: Float32Array, tokenCount: number): void {
    for (let first = 0; first < tokenCount; first += this.#chunkTokens) {
      const count = Math.min(this.#chunkTokens, tokenCount - first);
      for (let begin = 0; begin < this.#hiddenSize; begin += this.#groupWidth) {
        this.#fillColumns(inputs, first, count, begin);
        // Every target that is chosen here computes at once.
        void this.#kernels.run(this.#program);
        const values = sums.values.subarray(begin * this.#groupWidth);
        for (let index = 0; index < this.#products.length; index++) values[index]! += this.#products[index]!;
      }
    }
    sums.tokenCount += tokenCount;
  }

  /** Turns sums into means, in place. */
  finish({ values, tokenCount }: MomentSums): InputMoments {
    for (let index = 0; index < values.length; index++) values[index]! /= Math.max(1, tokenCount);
    return { groupWidth: this.#groupWidth, values };
  }

  #fillColumns(inputs: Float32Array, first: number, count: number, begin: number): void {
    this.#columns.fill(0);
    for (let token = 0; token < count; token++) {
      const row = (first + token) * this.#hiddenSize + begin;
      for (let i = 0; i < this.#groupWidth; i++)
        this.#columns[i * this.#chunkTokens + token] = inputs[row + i]!;
    }
  }
}

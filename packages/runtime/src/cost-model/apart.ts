import type { BundleIndex, KernelProgram, KernelSet, MemoryHandle, WordRef } from "@flashlm/contracts";
import { layerBlock, pinnedTensors } from "../blocks.js";
import { sum } from "../plan-sizes.js";

/** Columns of the weights that stand for a token's others, and the rows of a product that takes a thread no time. */
const COLUMN_COUNT = 256;
const ROW_COUNT_MIN = 16;
/** Other weights that are read at most: less than that empties what one of several users has of a large cache. */
const OTHER_BYTES_MAX = 128 * 1024 * 1024;
/** Between two uses of the same weights: what the tokens of small models take. */
const APART_MS = 8;

/** Rows that stand for the weights that a token reads beside those of the layers of `bundle`, of which there may be fewer than the model has. */
function otherRowCount(bundle: BundleIndex): number {
  const { layers, tensors } = bundle.manifest;
  const measured = new Set(layers.flatMap((_, layerIndex) => layerBlock(bundle, layerIndex).tensors));
  const away = tensors.filter(
    (tensor) => tensor.fileIndex === 0 && tensor.name.startsWith("layers.") && !measured.has(tensor),
  );
  const bytes = sum([...pinnedTensors(bundle, true), ...away].map(({ lengthBytes }) => lengthBytes));
  return Math.max(ROW_COUNT_MIN, Math.floor(Math.min(OTHER_BYTES_MAX, bytes) / (4 * COLUMN_COUNT)));
}

/** Kernel memory that an {@link Apart} takes. */
export function apartBytes(bundle: BundleIndex): number {
  const rowCount = otherRowCount(bundle);
  return 4 * (rowCount * COLUMN_COUNT + rowCount + COLUMN_COUNT) + 1024;
}

/**
 * What lies between two uses of the same weights in a run: time, and a token's other weights. A cache that is large and shared has lost the former by
 * then. Threads stay awake, as they are in a run.
 */
export class Apart {
  readonly #kernels: KernelSet;
  readonly #others: KernelProgram;
  readonly #moment: KernelProgram;

  /** @throws KERNEL_MEMORY where {@link apartBytes} are not left. */
  constructor(kernels: KernelSet, bundle: BundleIndex) {
    const { memory } = kernels;
    const zeros = (count: number): MemoryHandle => {
      const handle = memory.allocate(4 * count);
      memory.floats(handle, count).fill(0);
      return handle;
    };
    const tokenCount: WordRef = memory.allocate(16, 16);
    memory.words(tokenCount, 1)[0] = 1;
    const otherCount = otherRowCount(bundle);
    const base = zeros(otherCount * COLUMN_COUNT);
    const [source, target] = [zeros(COLUMN_COUNT), zeros(otherCount)];
    const product = (rowCount: number): KernelProgram => {
      const weight = { dtype: "f32", rowCount, columnCount: COLUMN_COUNT, base } as const;
      return kernels.compile([{ op: "matmul", tokenCount, weight, source, target, accumulate: false }]);
    };
    this.#kernels = kernels;
    this.#others = product(otherCount);
    this.#moment = product(ROW_COUNT_MIN);
  }

  /** Reads the other weights, and returns once so long has passed since `begin`, a time of `performance.now()`. */
  async since(begin: number): Promise<void> {
    await this.#kernels.run(this.#others);
    while (performance.now() - begin < APART_MS) await this.#kernels.run(this.#moment);
  }
}

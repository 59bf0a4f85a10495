import {
  FlashlmError,
  type FlashReader,
  type PendingReads,
  ReadBatch,
  type ReadPriority,
} from "@flashlm/contracts";

/** A batch with read `index` of `batch` alone. */
function single(batch: ReadBatch, index: number): ReadBatch {
  const one = new ReadBatch(1);
  one.push(batch.fileIndex[index]!, batch.offsetBytes[index]!, batch.lengthBytes[index]!, {
    arenaId: batch.targetArenaId[index]!,
    offsetBytes: batch.targetOffsetBytes[index]!,
  });
  return one;
}

/** Reads that start only when they are waited for, one by one and round the batch from `first` on. */
class LazyReads implements PendingReads {
  readonly count: number;
  readonly #inner: FlashReader;
  readonly #reads: readonly ReadBatch[];
  readonly #landed: Uint8Array;
  readonly #first: number;
  #endedCount = 0;
  #isCancelled = false;

  constructor(inner: FlashReader, batch: ReadBatch, first: number) {
    this.#inner = inner;
    this.#first = first;
    this.count = batch.count;
    this.#reads = Array.from({ length: batch.count }, (_, index) => single(batch, index));
    this.#landed = new Uint8Array(batch.count);
  }

  landed(index: number): boolean {
    return this.#landed[index] === 1;
  }

  waitNext(): number {
    if (this.#endedCount === this.count) return -1;
    const index = (this.#first + this.#endedCount++) % this.count;
    if (this.#isCancelled)
      throw new FlashlmError("FLASH_ABORTED", "given up before it began", { readIndex: index });
    try {
      this.#inner.submit(this.#reads[index]!).waitAll();
    } catch (error) {
      if (!FlashlmError.isInstance(error)) throw error;
      throw new FlashlmError(error.code, error.message, { ...error.details, readIndex: index }, error);
    }
    this.#landed[index] = 1;
    return index;
  }

  waitAll(): void {
    let failure: unknown;
    while (this.#endedCount < this.count) {
      try {
        this.waitNext();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  cancel(): void {
    this.#isCancelled = true;
  }

  async settled(): Promise<void> {
    this.waitAll();
  }
}

/** Passes demand on; speculative reads of a device that is too slow for them: each starts only when it is waited for. */
export function lazyReader(inner: FlashReader): FlashReader {
  let batchCount = 0;
  return {
    contractVersion: 1,
    capabilities: inner.capabilities,
    files: inner.files,
    attach: (arena) => inner.attach(arena),
    allocateTarget: (lengthBytes) => inner.allocateTarget(lengthBytes),
    submit: (batch: ReadBatch, options?: { readonly priority?: ReadPriority }) =>
      options?.priority === "speculative"
        ? new LazyReads(inner, batch, batchCount++)
        : inner.submit(batch, options),
    stats: () => inner.stats(),
    close: () => inner.close(),
  };
}

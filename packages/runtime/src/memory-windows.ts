import {
  type FlashFile,
  type FlashReader,
  type KernelMemory,
  type MemoryArena,
  type MemoryHandle,
  type PendingReads,
  ReadBatch,
  type ReaderCapabilities,
  type ReaderStats,
  type ReadPriority,
} from "@flashlm/contracts";

/** How a long memory is cut. Bytes. */
export interface WindowSizes {
  readonly windowBytes: number;
  /** Windows overlap by this, so that every read lies within one: at least as long as the longest read. */
  readonly overlapBytes: number;
}

/** The longest view that hosts make of a memory (Node 20); reads of the engine are far shorter than the overlap. */
const WINDOWS: WindowSizes = { windowBytes: 2 ** 32, overlapBytes: 64 * 2 ** 20 };

/** Windows of a memory: its segments, where it has some, which no read crosses. */
function windowsOf({ segmentBytes }: KernelMemory): WindowSizes {
  return segmentBytes === undefined ? WINDOWS : { windowBytes: segmentBytes, overlapBytes: 0 };
}

/**
 * Attaches kernel memory to a reader, and returns the reader to submit to. A memory that one view cannot span becomes several arenas,
 * overlapping unless it has segments of its own, and targets in it are translated on the way.
 */
export function attachMemory(
  reader: FlashReader,
  memory: KernelMemory,
  { windowBytes, overlapBytes }: WindowSizes = windowsOf(memory),
): FlashReader {
  const arena = memory.arenas[0];
  if (!arena) return reader;
  if (arena.lengthBytes <= windowBytes) {
    reader.attach(arena);
    return reader;
  }
  const stepBytes = windowBytes - overlapBytes;
  const windowCount = Math.ceil((arena.lengthBytes - overlapBytes) / stepBytes);
  for (let arenaId = 0; arenaId < windowCount; arenaId++) {
    const offsetBytes = arenaId * stepBytes;
    const lengthBytes = Math.min(windowBytes, arena.lengthBytes - offsetBytes);
    reader.attach({ arenaId, lengthBytes, bytes: memory.bytes({ arenaId: 0, offsetBytes }, lengthBytes) });
  }
  return new WindowedReader(reader, windowCount, stepBytes);
}

/** A reader whose targets are offsets in a memory longer than a view. */
class WindowedReader implements FlashReader {
  readonly contractVersion = 1;
  readonly #inner: FlashReader;
  readonly #windowCount: number;
  readonly #stepBytes: number;
  #batch: ReadBatch = new ReadBatch(0);

  constructor(inner: FlashReader, windowCount: number, stepBytes: number) {
    this.#inner = inner;
    this.#windowCount = windowCount;
    this.#stepBytes = stepBytes;
  }

  get capabilities(): ReaderCapabilities {
    return this.#inner.capabilities;
  }

  get files(): readonly FlashFile[] {
    return this.#inner.files;
  }

  attach(arena: MemoryArena): void {
    this.#inner.attach(arena);
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    return this.#inner.allocateTarget(lengthBytes);
  }

  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads {
    if (this.#batch.capacity < batch.count) this.#batch = new ReadBatch(batch.capacity);
    const own = this.#batch;
    own.clear();
    for (let index = 0; index < batch.count; index++) {
      const arenaId = batch.targetArenaId[index]!;
      const offsetBytes = batch.targetOffsetBytes[index]!;
      const window =
        arenaId === 0 ? Math.min(this.#windowCount - 1, Math.floor(offsetBytes / this.#stepBytes)) : arenaId;
      own.push(batch.fileIndex[index]!, batch.offsetBytes[index]!, batch.lengthBytes[index]!, {
        arenaId: window,
        offsetBytes: arenaId === 0 ? offsetBytes - window * this.#stepBytes : offsetBytes,
      });
    }
    return this.#inner.submit(own, options);
  }

  stats(): ReaderStats {
    return this.#inner.stats();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** Copies bytes within a kernel memory of any length. Offsets in bytes. */
export type MemoryCopy = (toBytes: number, fromBytes: number, lengthBytes: number) => void;

/** Makes the function that copies within a memory: the memory's own, or by views, without new ones where one view spans the memory. */
export function memoryCopy(
  memory: KernelMemory,
  { windowBytes }: Pick<WindowSizes, "windowBytes"> = windowsOf(memory),
): MemoryCopy {
  if (memory.copy) {
    return (toBytes, fromBytes, length) =>
      memory.copy!({ arenaId: 0, offsetBytes: toBytes }, { arenaId: 0, offsetBytes: fromBytes }, length);
  }
  const lengthBytes = memory.arenas[0]?.lengthBytes ?? 0;
  const view = (offsetBytes: number, length: number): Uint8Array =>
    memory.bytes({ arenaId: 0, offsetBytes }, length);
  if (lengthBytes > windowBytes)
    return (toBytes, fromBytes, length) => view(toBytes, length).set(view(fromBytes, length));
  const all = view(0, lengthBytes);
  return (toBytes, fromBytes, length) => all.copyWithin(toBytes, fromBytes, fromBytes + length);
}

import type {
  FlashFile,
  FlashReader,
  MemoryArena,
  MemoryHandle,
  PendingReads,
  ReadBatch,
  ReaderCapabilities,
  ReaderStats,
  ReadPriority,
} from "@flashlm/contracts";

/** One read as it was submitted. */
export interface TracedRead {
  readonly fileIndex: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly priority: ReadPriority;
}

/**
 * Passes everything on to `inner` and tells `onRead` of each read that `inner` accepted, in the order of its batch.
 * Closing it closes `inner`.
 */
export function createTracingReader(inner: FlashReader, onRead: (read: TracedRead) => void): FlashReader {
  return new TracingReader(inner, onRead);
}

class TracingReader implements FlashReader {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  private readonly inner: FlashReader;
  private readonly onRead: (read: TracedRead) => void;

  constructor(inner: FlashReader, onRead: (read: TracedRead) => void) {
    this.inner = inner;
    this.onRead = onRead;
    this.capabilities = inner.capabilities;
    this.files = inner.files;
  }

  attach(arena: MemoryArena): void {
    this.inner.attach(arena);
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    return this.inner.allocateTarget(lengthBytes);
  }

  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads {
    const pending = this.inner.submit(batch, options);
    const priority = options?.priority ?? "demand";
    for (let index = 0; index < batch.count; index++) {
      this.onRead({
        fileIndex: batch.fileIndex[index]!,
        offsetBytes: batch.offsetBytes[index]!,
        lengthBytes: batch.lengthBytes[index]!,
        priority,
      });
    }
    return pending;
  }

  stats(): ReaderStats {
    return this.inner.stats();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

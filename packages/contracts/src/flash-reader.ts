import type { MemoryArena, MemoryHandle } from "./memory.js";
import type { ByteCount, ByteOffset } from "./units.js";

/** A contiguous piece of a file. */
export interface Extent {
  readonly offsetBytes: ByteOffset;
  readonly lengthBytes: ByteCount;
}

/** What a reader can do; suites and schedulers branch on this, never on its class. */
export interface ReaderCapabilities {
  readonly backend: string;
  /** Offsets, lengths and targets that are multiples of this are read without a detour; 1 means any. */
  readonly alignmentBytes: ByteCount;
  /** True when the operating system's page cache is bypassed. */
  readonly directIo: boolean;
  /** Most reads that are in flight at once; more may be submitted and wait. */
  readonly inFlightMax: number;
  /** Largest single read; `submit` refuses a larger one. */
  readonly readBytesMax: ByteCount;
  /** Why a better way was not used, for people ("O_DIRECT refused by tmpfs"), or "". */
  readonly note: string;
}

/** A file the reader holds open. `fileIndex` in a batch refers to the order of these. */
export interface FlashFile {
  readonly path: string;
  readonly sizeBytes: ByteCount;
}

/**
 * Reads to be submitted, as parallel arrays that the caller allocates once and reuses:
 * `submit` copies what it needs before it returns.
 */
export class ReadBatch {
  /** Number of reads in use, at most `capacity`. */
  count = 0;
  readonly capacity: number;
  readonly fileIndex: Uint32Array;
  readonly offsetBytes: Float64Array;
  readonly lengthBytes: Float64Array;
  readonly targetArenaId: Uint32Array;
  readonly targetOffsetBytes: Float64Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.fileIndex = new Uint32Array(capacity);
    this.offsetBytes = new Float64Array(capacity);
    this.lengthBytes = new Float64Array(capacity);
    this.targetArenaId = new Uint32Array(capacity);
    this.targetOffsetBytes = new Float64Array(capacity);
  }

  /** Appends one read; returns its index. The caller keeps within `capacity`. */
  push(fileIndex: number, offsetBytes: ByteOffset, lengthBytes: ByteCount, target: MemoryHandle): number {
    const index = this.count++;
    this.fileIndex[index] = fileIndex;
    this.offsetBytes[index] = offsetBytes;
    this.lengthBytes[index] = lengthBytes;
    this.targetArenaId[index] = target.arenaId;
    this.targetOffsetBytes[index] = target.offsetBytes;
    return index;
  }

  /** Forgets all reads. */
  clear(): void {
    this.count = 0;
  }
}

/** Demand reads are served before speculative ones that have not started. */
export type ReadPriority = "demand" | "speculative";

/** The reads of one `submit`. A target belongs to its read until that read has ended, also after `cancel`. */
export interface PendingReads {
  readonly count: number;
  /** True once the read has ended well. Does not block. */
  landed(index: number): boolean;
  /**
   * Blocks the calling thread until one more read of this batch has ended and returns its index;
   * -1 once each has been returned. Order is that of arrival.
   * @throws FLASH_SHORT_READ, FLASH_IO, FLASH_ABORTED for a read that failed.
   */
  waitNext(): number;
  /** Blocks until every read has ended. Throws the first error only after all targets are free again. */
  waitAll(): void;
  /** Gives up reads that have not started; those in flight still end. Idempotent. */
  cancel(): void;
  /** Resolves when every read has ended, whether well, cancelled or failed; rejects with the first error. */
  settled(): Promise<void>;
}

/** Counters of a reader since it was opened. */
export interface ReaderStats {
  readonly requestCount: number;
  /** Bytes asked of the device, alignment padding included. */
  readonly readBytes: ByteCount;
}

/** Reads extents of files into arenas. One thread submits and waits; another reader serves another thread. */
export interface FlashReader {
  readonly contractVersion: 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  /** Makes an arena known as a target; its `bytes` must be over a SharedArrayBuffer for readers with a helper thread. */
  attach(arena: MemoryArena): void;
  /** Allocates and attaches memory of its own, aligned for this reader. Owned by the caller until the reader closes. */
  allocateTarget(lengthBytes: ByteCount): { readonly handle: MemoryHandle; readonly bytes: Uint8Array };
  /**
   * Starts reads; never blocks on the device. Any offset, length and target is allowed: what the device cannot read in place goes through a bounce buffer.
   * @throws FLASH_OUT_OF_RANGE (extent outside its file, target outside its arena), FLASH_CLOSED.
   */
  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads;
  /** Counters since the reader was opened. */
  stats(): ReaderStats;
  /** Waits for reads in flight; idempotent. Later calls fail with FLASH_CLOSED. */
  close(): Promise<void>;
}

/** Target value of {@link WantedReads} that lets the planner leave the bytes in the staging area. */
export const TARGET_ANYWHERE = -1;

/** Records that are wanted from one file, ascending by offset or not, never overlapping. */
export class WantedReads {
  count = 0;
  readonly capacity: number;
  readonly offsetBytes: Float64Array;
  readonly lengthBytes: Float64Array;
  /** Offset in the target arena, or {@link TARGET_ANYWHERE}. */
  readonly targetOffsetBytes: Float64Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.offsetBytes = new Float64Array(capacity);
    this.lengthBytes = new Float64Array(capacity);
    this.targetOffsetBytes = new Float64Array(capacity);
  }

  /** Appends one record; returns its index. */
  push(
    offsetBytes: ByteOffset,
    lengthBytes: ByteCount,
    targetOffsetBytes: ByteOffset = TARGET_ANYWHERE,
  ): number {
    const index = this.count++;
    this.offsetBytes[index] = offsetBytes;
    this.lengthBytes[index] = lengthBytes;
    this.targetOffsetBytes[index] = targetOffsetBytes;
    return index;
  }

  /** Forgets all records. */
  clear(): void {
    this.count = 0;
  }
}

/**
 * What to read so that every wanted record arrives. Read `r` covers the pieces
 * `pieceStart[r] .. pieceStart[r+1]-1`; piece `p` is wanted record `pieceWanted[p]`, which begins
 * `pieceOffsetBytes[p]` bytes into that read. A read goes straight to `readTargetOffsetBytes[r]`, or, where that is
 * {@link TARGET_ANYWHERE}, to `stagingOffsetBytes[r]` within a staging area of `stagingBytes`.
 */
export class ReadPlan {
  readCount = 0;
  pieceCount = 0;
  /** Staging that the plan needs, each read's part aligned. */
  stagingBytes = 0;
  readonly readOffsetBytes: Float64Array;
  readonly readLengthBytes: Float64Array;
  readonly readTargetOffsetBytes: Float64Array;
  readonly stagingOffsetBytes: Float64Array;
  readonly pieceStart: Uint32Array;
  readonly pieceWanted: Uint32Array;
  readonly pieceOffsetBytes: Float64Array;

  constructor(capacity: number) {
    this.readOffsetBytes = new Float64Array(capacity);
    this.readLengthBytes = new Float64Array(capacity);
    this.readTargetOffsetBytes = new Float64Array(capacity);
    this.stagingOffsetBytes = new Float64Array(capacity);
    this.pieceStart = new Uint32Array(capacity + 1);
    this.pieceWanted = new Uint32Array(capacity);
    this.pieceOffsetBytes = new Float64Array(capacity);
  }
}

/** Turns wanted records into requests: sorts, merges neighbours, splits, aligns. Pure; writes into `plan` without allocating. */
export interface ReadPlanner {
  readonly contractVersion: 1;
  /** No read of a plan is longer than this plus alignment at both ends; a record longer than it gets a read of its own. */
  readonly readBytesMax: ByteCount;
  /** No longer gap between two records is read along. Whether a shorter one is, is up to the planner. */
  readonly gapBytesMax: ByteCount;
  readonly alignmentBytes: ByteCount;
  /** What the choices rest on, for people ("defaults", "device profile of 2026-11-23"). */
  readonly basis: string;
  /** `fileSizeBytes` bounds the rounding at the file's end. */
  plan(wanted: WantedReads, fileSizeBytes: ByteCount, plan: ReadPlan): void;
}

import {
  type FlashFile,
  FlashlmError,
  type FlashReader,
  type MemoryArena,
  type MemoryHandle,
  type PendingReads,
  ReadBatch,
  type ReaderCapabilities,
  type ReaderStats,
  type ReadPriority,
} from "@flashlm/contracts";
import { checkBatch, closedError, type KnownArena } from "./batch-checks.js";
import { readError } from "./read-errors.js";
import { ScheduledReads, type Scheduler, TrackedReads } from "./scheduled-reads.js";
import { OUTCOME_ABORTED } from "./shared-rings.js";

/** Options of {@link createSchedulingReader}. */
export interface SchedulingOptions {
  /**
   * Speculative reads in flight at once; what a demand read may find ahead of it in the device. Default a quarter of the
   * reader's `inFlightMax`, at least one.
   */
  readonly speculativeInFlightMax?: number;
}

/** How a batch of {@link SchedulingReader} is submitted. */
export interface ScheduledSubmitOptions {
  readonly priority?: ReadPriority;
  /** For speculative reads: the token, say, that they are read for. Default: the epoch last begun. */
  readonly epoch?: number;
}

/** What became of speculative reads since the reader was made. */
export interface ScheduleStats {
  readonly speculativeCount: number;
  /** Handed to the device because nothing else was to be read. */
  readonly startedCount: number;
  /** Handed on as demand, because someone waited for them. */
  readonly promotedCount: number;
  /** Given up before they were handed on. */
  readonly cancelledCount: number;
}

/** A {@link FlashReader} whose speculative reads give way to demand and end with their epoch. */
export interface SchedulingReader extends FlashReader {
  submit(batch: ReadBatch, options?: ScheduledSubmitOptions): PendingReads;
  /**
   * Begins an epoch: speculative reads of earlier ones that have not started end with FLASH_ABORTED; those in flight still end, and their targets
   * are theirs until then. Epochs ascend.
   */
  beginEpoch(epoch: number): void;
  /** Starts speculative reads if there is room and no demand. Never blocks. Every other call does it too; call it between pieces of long work. */
  pump(): void;
  /** Counters since the reader was made. */
  schedule(): ScheduleStats;
}

/** Copies of batches kept for reuse; more speculative batches than this at a time allocate. */
const SPARE_MAX = 8;

/**
 * Passes demand reads on to `inner` at once. Speculative reads wait in a queue of its own until no demand read is out, a few at a time, so that
 * demand never finds a full device; waiting for a speculative batch makes it demand. Reads of one speculative batch are returned by
 * `waitNext` in the order of the pieces in which they were handed on. Closing it closes `inner`.
 * @throws FLASH_OUT_OF_RANGE for a bad option.
 */
export function createSchedulingReader(
  inner: FlashReader,
  options: SchedulingOptions = {},
): SchedulingReader {
  const most = options.speculativeInFlightMax ?? Math.max(1, Math.floor(inner.capabilities.inFlightMax / 4));
  if (!Number.isInteger(most) || most < 1) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `speculativeInFlightMax must be a whole number of at least 1, but is ${most}`,
      { speculativeInFlightMax: most },
    );
  }
  return new QueueingReader(inner, most);
}

class QueueingReader implements SchedulingReader, Scheduler {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  private readonly inner: FlashReader;
  private readonly speculativeInFlightMax: number;
  private readonly arenas: Map<number, KnownArena> = new Map();
  private readonly spare: ReadBatch[] = [];
  private demands: TrackedReads[] = [];
  private queue: ScheduledReads[] = [];
  /** Speculative reads of which something may be in flight. */
  private started: ScheduledReads[] = [];
  private epoch = 0;
  private isClosed = false;
  private speculativeCount = 0;
  private startedCount = 0;
  private promotedCount = 0;
  private cancelledCount = 0;

  constructor(inner: FlashReader, speculativeInFlightMax: number) {
    this.inner = inner;
    this.capabilities = inner.capabilities;
    this.files = inner.files;
    this.speculativeInFlightMax = speculativeInFlightMax;
  }

  attach(arena: MemoryArena): void {
    this.inner.attach(arena);
    this.know(arena.arenaId, arena.bytes ?? new Uint8Array(0));
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    const target = this.inner.allocateTarget(lengthBytes);
    const { arenaId, offsetBytes } = target.handle;
    // The whole arena behind the target: several targets may share one.
    this.know(arenaId, new Uint8Array(target.bytes.buffer, target.bytes.byteOffset - offsetBytes));
    return target;
  }

  private know(arenaId: number, bytes: Uint8Array): void {
    this.arenas.set(arenaId, { arenaIndex: 0, lengthBytes: bytes.length, bytes });
  }

  submit(batch: ReadBatch, options?: ScheduledSubmitOptions): PendingReads {
    if (this.isClosed) throw closedError("submit");
    if (options?.priority !== "speculative") {
      const reads = new TrackedReads(this.inner.submit(batch, { priority: "demand" }));
      this.demands = this.demands.filter((demand) => !demand.hasEnded());
      this.demands.push(reads);
      return reads;
    }
    checkBatch(batch, this.files, this.arenas);
    const epoch = options.epoch ?? this.epoch;
    const reads = new ScheduledReads(this, this.copy(batch, 0, batch.count), batch.count, epoch);
    this.speculativeCount += batch.count;
    if (epoch < this.epoch) this.cancelledCount += reads.abort();
    else if (batch.count > 0) this.queue.push(reads);
    this.pump();
    return reads;
  }

  beginEpoch(epoch: number): void {
    this.epoch = Math.max(this.epoch, epoch);
    const isStale = (reads: ScheduledReads): boolean => reads.epoch < this.epoch;
    for (const reads of this.queue.filter(isStale)) this.cancelledCount += reads.abort();
    for (const reads of this.started.filter(isStale)) reads.abort();
    this.queue = this.queue.filter((reads) => !isStale(reads));
    this.started = this.started.filter((reads) => !isStale(reads));
    this.pump();
  }

  pump(): void {
    if (this.isClosed || this.queue.length === 0) return;
    this.demands = this.demands.filter((demand) => !demand.hasEnded());
    if (this.demands.length > 0) return;
    let room = this.speculativeInFlightMax;
    this.started = this.started.filter((reads) => {
      const inFlight = reads.inFlightCount();
      room -= inFlight;
      return inFlight > 0;
    });
    while (room > 0 && this.queue.length > 0) {
      const reads = this.queue[0]!;
      const count = Math.min(room, reads.waitingCount);
      this.handOn(reads, count, "speculative");
      this.startedCount += count;
      room -= count;
      if (reads.waitingCount === 0) this.queue.shift();
      if (!this.started.includes(reads)) this.started.push(reads);
    }
  }

  promote(reads: ScheduledReads): void {
    this.queue = this.queue.filter((other) => other !== reads);
    this.promotedCount += reads.waitingCount;
    this.handOn(reads, reads.waitingCount, "demand");
  }

  giveUp(reads: ScheduledReads): void {
    this.queue = this.queue.filter((other) => other !== reads);
    this.cancelledCount += reads.abort();
  }

  async progress(): Promise<void> {
    const demand = this.demands.find((candidate) => !candidate.hasEnded());
    // Its owner is told of its error; here it only matters that it has ended.
    if (demand !== undefined) await demand.settled().catch(() => undefined);
    else await this.started[0]?.slicesEnded();
  }

  abortError(batch: ReadBatch, index: number): FlashlmError {
    const fileIndex = batch.fileIndex[index]!;
    return readError(OUTCOME_ABORTED, {
      readIndex: index,
      path: this.files[fileIndex]!.path,
      fileIndex,
      offsetBytes: batch.offsetBytes[index]!,
      lengthBytes: batch.lengthBytes[index]!,
      gotBytes: 0,
      errno: 0,
    });
  }

  private handOn(reads: ScheduledReads, count: number, priority: ReadPriority): void {
    const slice = this.copy(reads.batch!, reads.nextRead, count);
    reads.handedOn(this.inner.submit(slice, { priority }));
    this.keep(slice);
    if (reads.waitingCount > 0) return;
    this.keep(reads.batch!);
    reads.batch = undefined;
  }

  /** A batch of our own with `count` reads from `first` on. */
  private copy(batch: ReadBatch, first: number, count: number): ReadBatch {
    const index = this.spare.findIndex((candidate) => candidate.capacity >= count);
    const own = index < 0 ? new ReadBatch(count) : this.spare.splice(index, 1)[0]!;
    own.count = count;
    own.fileIndex.set(batch.fileIndex.subarray(first, first + count));
    own.offsetBytes.set(batch.offsetBytes.subarray(first, first + count));
    own.lengthBytes.set(batch.lengthBytes.subarray(first, first + count));
    own.targetArenaId.set(batch.targetArenaId.subarray(first, first + count));
    own.targetOffsetBytes.set(batch.targetOffsetBytes.subarray(first, first + count));
    return own;
  }

  private keep(batch: ReadBatch): void {
    if (this.spare.length < SPARE_MAX) this.spare.push(batch);
  }

  schedule(): ScheduleStats {
    const { speculativeCount, startedCount, promotedCount, cancelledCount } = this;
    return { speculativeCount, startedCount, promotedCount, cancelledCount };
  }

  stats(): ReaderStats {
    return this.inner.stats();
  }

  close(): Promise<void> {
    this.isClosed = true;
    for (const reads of this.queue.splice(0)) this.cancelledCount += reads.abort();
    return this.inner.close();
  }
}

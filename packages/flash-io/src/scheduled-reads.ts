import { FlashlmError, type PendingReads, type ReadBatch } from "@flashlm/contracts";

/** Consecutive reads of a batch that were handed to the inner reader together. */
export interface Slice {
  readonly pending: PendingReads;
  /** Index of its first read in the whole batch. */
  readonly first: number;
}

/** What scheduled reads ask of their scheduler. */
export interface Scheduler {
  /** Starts what may start now. Never blocks. */
  pump(): void;
  /** Someone waits for these reads: what is left of them becomes demand. */
  promote(reads: ScheduledReads): void;
  /** Gives up what waits of these reads and what can still be stopped. */
  giveUp(reads: ScheduledReads): void;
  /** Resolves when something that keeps speculative reads waiting has ended. */
  progress(): Promise<void>;
  /** The error of a read that never started. */
  abortError(batch: ReadBatch, index: number): FlashlmError;
}

/** True once every read of `pending` has landed; `cursor` remembers how many have, so that asking again is cheap. */
function advance(pending: PendingReads, cursor: number): number {
  let next = cursor;
  while (next < pending.count && pending.landed(next)) next++;
  return next;
}

/** Demand reads of the inner reader, and whether their caller is done with them. */
export class TrackedReads implements PendingReads {
  readonly count: number;
  private readonly inner: PendingReads;
  private landedCount = 0;
  private isOver: boolean;

  constructor(inner: PendingReads) {
    this.inner = inner;
    this.count = inner.count;
    this.isOver = inner.count === 0;
  }

  /** True once all have ended, as far as can be told without blocking: a failed read counts when it has been waited for. */
  hasEnded(): boolean {
    if (!this.isOver) {
      this.landedCount = advance(this.inner, this.landedCount);
      this.isOver = this.landedCount === this.count;
    }
    return this.isOver;
  }

  landed(index: number): boolean {
    return this.inner.landed(index);
  }

  waitNext(): number {
    const index = this.inner.waitNext();
    if (index === -1) this.isOver = true;
    return index;
  }

  waitAll(): void {
    try {
      this.inner.waitAll();
    } finally {
      this.isOver = true;
    }
  }

  cancel(): void {
    this.inner.cancel();
    this.isOver = true;
  }

  async settled(): Promise<void> {
    try {
      await this.inner.settled();
    } finally {
      this.isOver = true;
    }
  }
}

/** Speculative reads: a queue of reads not yet handed on, and slices that were. Reads are handed on in their order. */
export class ScheduledReads implements PendingReads {
  readonly count: number;
  readonly epoch: number;
  /** Copy of the caller's batch; given back once nothing of it is waiting. */
  batch: ReadBatch | undefined;
  /** Reads from here on wait in the queue, or were given up there. */
  nextRead = 0;
  private readonly scheduler: Scheduler;
  private readonly slices: Slice[] = [];
  private readonly landedCounts: number[] = [];
  private isAborted = false;
  private isWaitedFor = false;
  private sliceCursor = 0;
  private abortCursor = 0;
  private settledPromise: Promise<void> | undefined;

  constructor(scheduler: Scheduler, batch: ReadBatch, count: number, epoch: number) {
    this.scheduler = scheduler;
    this.batch = batch;
    this.count = count;
    this.epoch = epoch;
  }

  /** Reads that wait in the queue. */
  get waitingCount(): number {
    return this.isAborted ? 0 : this.count - this.nextRead;
  }

  /** Notes that the reads up to `nextRead` are on their way. */
  handedOn(pending: PendingReads): void {
    this.slices.push({ pending, first: this.nextRead });
    this.landedCounts.push(0);
    this.nextRead += pending.count;
    this.abortCursor = this.nextRead;
  }

  /** Reads on their way that have not landed. None once the caller has given them up or waited for them all. */
  inFlightCount(): number {
    if (this.isAborted || this.isWaitedFor) return 0;
    let inFlight = 0;
    for (const [index, { pending }] of this.slices.entries()) {
      if (this.landedCounts[index]! < pending.count)
        this.landedCounts[index] = advance(pending, this.landedCounts[index]!);
      inFlight += pending.count - this.landedCounts[index]!;
    }
    return inFlight;
  }

  /** Resolves when what is on its way now has ended, however it did. */
  async slicesEnded(): Promise<void> {
    for (const [index, { pending }] of this.slices.entries()) {
      // Whoever waits for these reads is told of the error.
      await pending.settled().catch(() => undefined);
      this.landedCounts[index] = pending.count;
    }
  }

  /** Gives up what waits, and what the inner reader has not started. Returns how many had not been handed on. */
  abort(): number {
    const waiting = this.waitingCount;
    this.isAborted = true;
    for (const { pending } of this.slices) pending.cancel();
    return waiting;
  }

  landed(index: number): boolean {
    this.scheduler.pump();
    const slice = this.slices.findLast(({ first }) => first <= index);
    return slice !== undefined && index < slice.first + slice.pending.count
      ? slice.pending.landed(index - slice.first)
      : false;
  }

  waitNext(): number {
    if (this.waitingCount > 0) this.scheduler.promote(this);
    for (; this.sliceCursor < this.slices.length; this.sliceCursor++) {
      const { pending, first } = this.slices[this.sliceCursor]!;
      const index = inWholeBatch(first, () => pending.waitNext());
      if (index !== -1) return first + index;
    }
    this.isWaitedFor = true;
    if (this.abortCursor === this.count) return -1;
    throw this.scheduler.abortError(this.batch!, this.abortCursor++);
  }

  waitAll(): void {
    if (this.waitingCount > 0) this.scheduler.promote(this);
    let failure: unknown;
    for (const { pending, first } of this.slices) {
      try {
        inWholeBatch(first, () => pending.waitAll());
      } catch (error) {
        failure ??= error;
      }
    }
    this.isWaitedFor = true;
    this.failIfAborted(failure);
  }

  cancel(): void {
    this.scheduler.giveUp(this);
  }

  settled(): Promise<void> {
    this.settledPromise ??= this.becomeSettled();
    return this.settledPromise;
  }

  private async becomeSettled(): Promise<void> {
    for (this.scheduler.pump(); this.waitingCount > 0; this.scheduler.pump()) await this.scheduler.progress();
    let failure: unknown;
    for (const { pending, first } of this.slices) {
      try {
        await pending.settled();
      } catch (error) {
        failure ??= renumbered(error, first);
      }
    }
    this.isWaitedFor = true;
    this.failIfAborted(failure);
  }

  /** Throws the first error; reads given up in the queue have one too. */
  private failIfAborted(failure: unknown): void {
    if (failure !== undefined) throw failure;
    if (this.nextRead < this.count) throw this.scheduler.abortError(this.batch!, this.nextRead);
  }
}

/** Errors of a slice name the read by its index in the whole batch. */
function inWholeBatch<Result>(first: number, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw renumbered(error, first);
  }
}

function renumbered(error: unknown, first: number): unknown {
  if (!FlashlmError.isInstance(error) || typeof error.details.readIndex !== "number") return error;
  const details = { ...error.details, readIndex: error.details.readIndex + first };
  return new FlashlmError(error.code, error.message, details, error);
}

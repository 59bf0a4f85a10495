import type { FlashlmError, PendingReads } from "@flashlm/contracts";
import { OUTCOME_LANDED } from "./shared-rings.js";

/** Values of a read's state from here on name the slot of a read that has not ended; smaller ones are outcomes. */
const SLOT_BASE = 16;

/** What tracked reads ask of their reader. */
export interface CompletionSource {
  /** Takes note of every read that has ended. Never blocks. */
  drain(): void;
  /** Blocks until `readCount` more reads have ended, or for a while. */
  wait(readCount: number): void;
  /** Ends the reads of a batch that have not started. */
  cancel(batch: TrackedReads): void;
  /** Keeps the event loop informed of completions until `unwatch`. */
  watch(): void;
  unwatch(): void;
}

/** The reads of one batch. One small table and no object per read. */
export class TrackedReads implements PendingReads {
  readonly count: number;
  /** Number that the reader knows the batch by, or 0. */
  readonly batchId: number;
  private readonly source: CompletionSource;
  /** The state of each read, then the reads in the order in which they ended: one table, because batches come often. */
  private readonly table: Uint32Array;
  private endedCount = 0;
  private returnedCount = 0;
  private errors: Map<number, FlashlmError> | undefined;
  private firstError: FlashlmError | undefined;
  private settledPromise: Promise<void> | undefined;
  private settle: (() => void) | undefined;

  constructor(source: CompletionSource, count: number, batchId = 0) {
    this.source = source;
    this.count = count;
    this.batchId = batchId;
    this.table = new Uint32Array(2 * count);
  }

  /** True when no read of the batch is out any more. */
  get hasEnded(): boolean {
    return this.endedCount === this.count;
  }

  /** Called by a reader that cancels read by read when one was queued. */
  queued(index: number, slot: number): void {
    this.table[index] = SLOT_BASE + slot;
  }

  /** Slots of the reads that have not ended, as `queued` named them. */
  *openSlots(): Iterable<number> {
    for (const state of this.table.subarray(0, this.count)) if (state >= SLOT_BASE) yield state - SLOT_BASE;
  }

  /** Called by the reader when a read has ended. */
  ended(index: number, outcome: number, error: FlashlmError | undefined): void {
    this.table[index] = outcome;
    this.table[this.count + this.endedCount++] = index;
    if (error !== undefined) {
      this.errors ??= new Map();
      this.errors.set(index, error);
      this.firstError ??= error;
    }
    if (this.endedCount === this.count && this.settle !== undefined) {
      this.settle();
      this.settle = undefined;
      this.source.unwatch();
    }
  }

  landed(index: number): boolean {
    if (this.table[index] === OUTCOME_LANDED) return true;
    this.source.drain();
    return this.table[index] === OUTCOME_LANDED;
  }

  waitNext(): number {
    if (this.returnedCount === this.count) return -1;
    if (this.returnedCount === this.endedCount) this.source.drain();
    while (this.returnedCount === this.endedCount) this.source.wait(1);
    const index = this.table[this.count + this.returnedCount++]!;
    const error = this.errors?.get(index);
    if (error !== undefined) throw error;
    return index;
  }

  waitAll(): void {
    while (this.endedCount < this.count) this.source.wait(this.count - this.endedCount);
    if (this.firstError !== undefined) throw this.firstError;
  }

  cancel(): void {
    this.source.drain();
    if (!this.hasEnded) this.source.cancel(this);
  }

  settled(): Promise<void> {
    this.settledPromise ??= this.becomeSettled();
    return this.settledPromise;
  }

  private async becomeSettled(): Promise<void> {
    this.source.drain();
    if (this.endedCount < this.count) {
      await new Promise<void>((resolve) => {
        this.settle = resolve;
        this.source.watch();
      });
    }
    if (this.firstError !== undefined) throw this.firstError;
  }
}

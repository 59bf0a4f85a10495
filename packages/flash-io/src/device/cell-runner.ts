import { setImmediate } from "node:timers/promises";
import { type FlashReader, type MemoryArena, type PendingReads, ReadBatch } from "@flashlm/contracts";
import { abortedError } from "./measured-file.js";

/** How long a cell is measured. */
export interface CellTime {
  /** At least this, however steady the speed is. */
  readonly leastMs: number;
  /** At most about this: one batch more where the device is slow. */
  readonly mostMs: number;
}

/** What came of a run. */
export interface CellResult {
  readonly bytesPerSecond: number;
  readonly spread: number;
  readonly readCount: number;
}

/** A batch aims at this: long against the cost of submitting and waking, short against a cell. */
const BATCH_MS = 12;
const BATCH_READS_MAX = 2048;
/** Batches before the first that counts: the queue fills, and the batch finds its length. */
const WARM_BATCHES = 2;
const SAMPLES_MIN = 5;
/** Relative error of the mean at which a cell is done. */
const STEADY = 0.02;
const LATENCY_READS_MAX = 512;

/**
 * Reads one file in one chunk length with a full queue. Two batches take turns, each at least as long as the queue is deep, so that
 * the next reads are there whenever one ends. One runner per reader; blocks its thread for a batch at a time.
 */
export class CellRunner {
  readonly depth: number;
  private readonly reader: FlashReader;
  private readonly arena: MemoryArena;
  private readonly fileBytes: number;
  private readonly random: () => number;
  private readonly signal: AbortSignal | undefined;
  private readonly batches: readonly ReadBatch[];

  /** @param arena - page-aligned shared memory for the reads; attached here. */
  constructor(
    reader: FlashReader,
    depth: number,
    arena: MemoryArena,
    random: () => number,
    signal: AbortSignal | undefined,
  ) {
    this.reader = reader;
    this.depth = depth;
    this.arena = arena;
    this.random = random;
    this.signal = signal;
    this.fileBytes = reader.files[0]!.sizeBytes;
    reader.attach(arena);
    // A reader that keeps more in flight than asked for is held to the depth by the length of its batches.
    const lanes = reader.capabilities.inFlightMax > depth && depth === 1 ? 1 : 2;
    this.batches = Array.from({ length: lanes }, () => new ReadBatch(BATCH_READS_MAX));
  }

  /** True when the reader can hold this queue and the memory and the file suffice for such chunks. */
  fits(chunkBytes: number): boolean {
    const { inFlightMax, readBytesMax } = this.reader.capabilities;
    return (
      inFlightMax >= this.depth &&
      chunkBytes <= readBytesMax &&
      chunkBytes <= this.fileBytes &&
      2 * this.depth * chunkBytes <= this.arena.lengthBytes
    );
  }

  /** Random reads, or reads one after the other. @throws FLASH_ABORTED, and what the reader throws. */
  async throughput(chunkBytes: number, order: "random" | "sequential", time: CellTime): Promise<CellResult> {
    const next = this.offsets(chunkBytes, order);
    const pendings: (PendingReads | undefined)[] = this.batches.map(() => undefined);
    const samples = new Samples();
    try {
      for (let turn = 0; turn < pendings.length; turn++) {
        pendings[turn] = this.submit(turn, chunkBytes, this.readCount(chunkBytes, undefined), next);
      }
      const started = performance.now();
      let lastMs = started;
      for (let turn = 0; ; turn = (turn + 1) % pendings.length) {
        pendings[turn]!.waitAll();
        const nowMs = performance.now();
        samples.push(this.batches[turn]!.count, nowMs - lastMs);
        lastMs = nowMs;
        if (samples.suffice(nowMs - started, time)) break;
        pendings[turn] = this.submit(turn, chunkBytes, this.readCount(chunkBytes, samples.readMs), next);
        await setImmediate();
        if (this.signal?.aborted) throw abortedError();
      }
      return samples.result(chunkBytes);
    } finally {
      for (const pending of pendings) if (pending !== undefined) giveUp(pending);
    }
  }

  /**
   * The slowest percent of single reads while the queue is full, in milliseconds, as the waiting thread sees them: a read starts when the queue
   * makes room for it, which is when the `depth`-th last one ended. Null where less than a handful fits the time.
   */
  slowReadMs(chunkBytes: number, readMs: number, mostMs: number): number | null {
    const room = Math.floor(this.arena.lengthBytes / chunkBytes);
    const count = Math.min(Math.max(Math.floor(mostMs / readMs), 4 * this.depth), room, LATENCY_READS_MAX);
    if (count < 2 * this.depth || count < SAMPLES_MIN || count * readMs > 4 * mostMs) return null;
    const batch = this.batches[0]!;
    this.fill(batch, 0, chunkBytes, count, this.offsets(chunkBytes, "random"));
    const endsMs = new Float64Array(count);
    const latenciesMs: number[] = [];
    const startedMs = performance.now();
    const pending = this.reader.submit(batch);
    try {
      for (let ended = 0; ended < count; ended++) {
        const index = pending.waitNext();
        endsMs[ended] = performance.now();
        const startMs = index < this.depth ? startedMs : endsMs[Math.min(index - this.depth, ended)]!;
        latenciesMs.push(endsMs[ended]! - startMs);
      }
    } finally {
      giveUp(pending);
    }
    return latenciesMs.toSorted((a, b) => a - b)[Math.ceil(0.99 * count) - 1]!;
  }

  /** Reads of a batch: as many as fill its time, but the whole queue and no more than the memory holds. */
  private readCount(chunkBytes: number, readMs: number | undefined): number {
    const { depth, reader, batches } = this;
    if (reader.capabilities.inFlightMax > depth) return Math.max(1, depth >> 1);
    const room = Math.floor(this.arena.lengthBytes / batches.length / chunkBytes);
    const timed = readMs === undefined ? depth : Math.ceil(BATCH_MS / Math.max(readMs, 1e-4));
    return Math.min(Math.max(timed, depth), room, BATCH_READS_MAX);
  }

  private submit(turn: number, chunkBytes: number, count: number, next: () => number): PendingReads {
    const batch = this.batches[turn]!;
    this.fill(batch, (turn * this.arena.lengthBytes) / this.batches.length, chunkBytes, count, next);
    return this.reader.submit(batch);
  }

  private fill(
    batch: ReadBatch,
    startBytes: number,
    chunkBytes: number,
    count: number,
    next: () => number,
  ): void {
    batch.clear();
    for (let read = 0; read < count; read++) {
      const offsetBytes = startBytes + read * chunkBytes;
      batch.push(0, next(), chunkBytes, { arenaId: this.arena.arenaId, offsetBytes });
    }
  }

  private offsets(chunkBytes: number, order: "random" | "sequential"): () => number {
    const chunkCount = Math.floor(this.fileBytes / chunkBytes);
    if (order === "random") return () => Math.floor(this.random() * chunkCount) * chunkBytes;
    let next = 0;
    return () => (next++ % chunkCount) * chunkBytes;
  }
}

/** Speeds of the batches of a cell. */
class Samples {
  private readonly readCounts: number[] = [];
  private readonly ms: number[] = [];
  private batchCount = 0;

  push(readCount: number, ms: number): void {
    if (this.batchCount++ === WARM_BATCHES) this.clear();
    this.readCounts.push(readCount);
    this.ms.push(Math.max(ms, 1e-4));
  }

  private clear(): void {
    this.readCounts.length = 0;
    this.ms.length = 0;
  }

  /** Mean time that a read takes of the device. */
  get readMs(): number {
    return sum(this.ms) / Math.max(1, sum(this.readCounts));
  }

  suffice(elapsedMs: number, time: CellTime): boolean {
    if (this.batchCount <= WARM_BATCHES) return false;
    if (elapsedMs >= time.mostMs) return true;
    const count = this.ms.length;
    return elapsedMs >= time.leastMs && count >= SAMPLES_MIN && this.spread() / Math.sqrt(count) < STEADY;
  }

  result(chunkBytes: number): CellResult {
    return {
      // The median batch: a moment in which another program had the disk does not count.
      bytesPerSecond: this.speedAt(0.5) * chunkBytes * 1000,
      spread: this.spread(),
      readCount: sum(this.readCounts),
    };
  }

  private spread(): number {
    return (this.speedAt(0.75) - this.speedAt(0.25)) / this.speedAt(0.5);
  }

  /** Quantile of the batches' reads per millisecond. */
  private speedAt(share: number): number {
    const speeds = this.readCounts.map((count, index) => count / this.ms[index]!).toSorted((a, b) => a - b);
    return speeds[Math.round(share * (speeds.length - 1))]!;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Ends reads that nobody needs any more, so that their targets are free. */
function giveUp(pending: PendingReads): void {
  pending.cancel();
  try {
    pending.waitAll();
  } catch {
    // Cancelled, or failed as the error that is on its way says.
  }
}

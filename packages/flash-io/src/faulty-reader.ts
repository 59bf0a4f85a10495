import {
  type FlashFile,
  FlashlmError,
  type FlashReader,
  type MemoryArena,
  type MemoryHandle,
  type PendingReads,
  type ReadBatch,
  type ReaderCapabilities,
  type ReaderStats,
  type ReadPriority,
} from "@flashlm/contracts";
import { readError } from "./read-errors.js";
import { OUTCOME_FAILED, OUTCOME_SHORT } from "./shared-rings.js";

/**
 * Faults that {@link createFaultyReader} can bring about: "error" ends a read with FLASH_IO (EIO), "short" with
 * FLASH_SHORT_READ, "delay" holds the waiting thread up before a read is returned.
 */
export const FAULT_KINDS = ["error", "short", "delay"] as const;
/** One of {@link FAULT_KINDS}. */
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Options of {@link createFaultyReader}; rates are shares of reads, 0 to 1. */
export interface FaultOptions {
  /** Same seed, same submits: same faults. */
  readonly seed: number;
  readonly errorRate?: number;
  readonly shortReadRate?: number;
  readonly delayRate?: number;
  /** Length of a delay; default 1. */
  readonly delayMs?: number;
}

const SCRIBBLE = 0xa5;
const ERRNO_IO = -5;

/** A read picked to go wrong, and where its bytes go. */
interface PlannedFault {
  readonly kind: FaultKind;
  readonly error: FlashlmError | undefined;
  readonly target: Uint8Array | undefined;
}

/**
 * Passes reads on to `inner` and lets some of them fail, by seed. The target of a failed read is scribbled over, so that
 * a caller who uses it anyway is found out. Closing it closes `inner`. @throws FLASH_OUT_OF_RANGE for a bad rate.
 */
export function createFaultyReader(inner: FlashReader, options: FaultOptions): FlashReader {
  for (const rate of [options.errorRate, options.shortReadRate, options.delayRate]) {
    if (rate !== undefined && !(rate >= 0 && rate <= 1)) {
      throw new FlashlmError("FLASH_OUT_OF_RANGE", `a fault rate must be from 0 to 1, but is ${rate}`, {
        rate,
      });
    }
  }
  return new FaultyReader(inner, options);
}

class FaultyReader implements FlashReader {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  private readonly inner: FlashReader;
  private readonly options: FaultOptions;
  private readonly arenas: Map<number, Uint8Array> = new Map();
  private state: number;

  constructor(inner: FlashReader, options: FaultOptions) {
    this.inner = inner;
    this.options = options;
    this.state = options.seed >>> 0;
    this.capabilities = inner.capabilities;
    this.files = inner.files;
  }

  attach(arena: MemoryArena): void {
    this.inner.attach(arena);
    if (arena.bytes !== undefined) this.arenas.set(arena.arenaId, arena.bytes);
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    const target = this.inner.allocateTarget(lengthBytes);
    const { arenaId, offsetBytes } = target.handle;
    // The whole arena behind the target: several targets may share one.
    const arena = new Uint8Array(target.bytes.buffer, target.bytes.byteOffset - offsetBytes);
    this.arenas.set(arenaId, arena);
    return target;
  }

  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads {
    const pending = this.inner.submit(batch, options);
    const faults = new Map<number, PlannedFault>();
    for (let index = 0; index < batch.count; index++) {
      const kind = this.drawFault();
      if (kind !== undefined) faults.set(index, this.planFault(kind, batch, index));
    }
    return new FaultyReads(pending, faults, this.options.delayMs ?? 1);
  }

  private drawFault(): FaultKind | undefined {
    const { errorRate = 0, shortReadRate = 0, delayRate = 0 } = this.options;
    const draw = this.random();
    if (draw < errorRate) return "error";
    if (draw < errorRate + shortReadRate) return "short";
    return this.random() < delayRate ? "delay" : undefined;
  }

  private planFault(kind: FaultKind, batch: ReadBatch, readIndex: number): PlannedFault {
    if (kind === "delay") return { kind, error: undefined, target: undefined };
    const fileIndex = batch.fileIndex[readIndex]!;
    const lengthBytes = batch.lengthBytes[readIndex]!;
    const targetBytes = batch.targetOffsetBytes[readIndex]!;
    const error = readError(kind === "short" ? OUTCOME_SHORT : OUTCOME_FAILED, {
      readIndex,
      path: this.files[fileIndex]!.path,
      fileIndex,
      offsetBytes: batch.offsetBytes[readIndex]!,
      lengthBytes,
      gotBytes: kind === "short" ? Math.max(0, lengthBytes - 1) : 0,
      errno: kind === "short" ? 0 : ERRNO_IO,
    });
    const arena = this.arenas.get(batch.targetArenaId[readIndex]!);
    return { kind, error, target: arena?.subarray(targetBytes, targetBytes + lengthBytes) };
  }

  /** Weyl sequence through a 32-bit mixer: small, seeded, good enough for rates. */
  private random(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  }

  stats(): ReaderStats {
    return this.inner.stats();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

class FaultyReads implements PendingReads {
  readonly count: number;
  private readonly inner: PendingReads;
  private readonly faults: ReadonlyMap<number, PlannedFault>;
  private readonly delayMs: number;
  private readonly sleepWord: Int32Array = new Int32Array(new SharedArrayBuffer(4));

  constructor(inner: PendingReads, faults: ReadonlyMap<number, PlannedFault>, delayMs: number) {
    this.inner = inner;
    this.count = inner.count;
    this.faults = faults;
    this.delayMs = delayMs;
  }

  landed(index: number): boolean {
    return this.faults.get(index)?.error === undefined && this.inner.landed(index);
  }

  waitNext(): number {
    const index = this.inner.waitNext();
    const fault = this.faults.get(index);
    if (fault?.kind === "delay") Atomics.wait(this.sleepWord, 0, 0, this.delayMs);
    else if (fault?.error !== undefined) {
      fault.target?.fill(SCRIBBLE);
      throw fault.error;
    }
    return index;
  }

  waitAll(): void {
    this.inner.waitAll();
    // Delays run side by side, as those of a device do.
    if ([...this.faults.values()].some(({ kind }) => kind === "delay"))
      Atomics.wait(this.sleepWord, 0, 0, this.delayMs);
    this.failIfPlanned();
  }

  cancel(): void {
    this.inner.cancel();
  }

  async settled(): Promise<void> {
    await this.inner.settled();
    this.failIfPlanned();
  }

  private failIfPlanned(): void {
    let firstError: FlashlmError | undefined;
    for (const fault of this.faults.values()) {
      if (fault.error === undefined) continue;
      fault.target?.fill(SCRIBBLE);
      firstError ??= fault.error;
    }
    if (firstError !== undefined) throw firstError;
  }
}

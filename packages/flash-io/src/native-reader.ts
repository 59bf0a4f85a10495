import { getSystemErrorName } from "node:util";
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
import { checkBatch, closedError, type KnownArena, READ_BYTES_MAX } from "./batch-checks.js";
import type { NativeAddon, NativeFile, NativeHandle } from "./native-addon.js";
import { OwnTargets } from "./own-targets.js";
import { readError } from "./read-errors.js";
import { type DirectIoMode, OUTCOME_LANDED } from "./shared-rings.js";
import { type CompletionSource, TrackedReads } from "./tracked-reads.js";

/** Ways of reading that the addon knows. */
export type NativeBackend = "io_uring" | "pread";

/** What {@link openNativeReader} is told. */
export interface NativeReaderSettings {
  readonly addon: NativeAddon;
  readonly paths: readonly string[];
  readonly backend: NativeBackend;
  readonly directIo: DirectIoMode;
  readonly inFlightMax: number;
  /** As in `FlashReaderOptions`. */
  readonly awakeUs: number;
  /** Why a better way was not used, or "". */
  readonly note: string;
}

const DIRECT_IO_NUMBERS = { preferred: 0, required: 1, off: 2 } as const;
/** Completions taken over in one call; more wait for the next. */
const PAIRS_PER_CALL = 1024;
const FAILED_BIT = 0x80000000;
const ALL_BATCHES = 0xffffffff;

/**
 * Opens files with a native backend. Resolves with the reader, or with the reason for which the system refuses the backend.
 * @throws FLASH_OPEN when a file cannot be opened.
 */
export function openNativeReader(settings: NativeReaderSettings): FlashReader | string {
  const { addon, paths, backend, directIo, inFlightMax, awakeUs } = settings;
  const listener: { onProgress: (() => void) | undefined } = { onProgress: undefined };
  const notify = (): void => listener.onProgress?.();
  const opening = addon.open([...paths], DIRECT_IO_NUMBERS[directIo], backend, inFlightMax, awakeUs, notify);
  if ("refusal" in opening) return opening.refusal;
  if ("faultIndex" in opening) throw openError(paths[opening.faultIndex]!, opening.message, opening.errno);
  return new NativeReader(settings, opening.handle, opening.files, listener);
}

function openError(path: string, message: string, errno: number): FlashlmError {
  const errorCode = errno < 0 ? getSystemErrorName(errno) : "";
  return new FlashlmError(
    "FLASH_OPEN",
    `expected a readable regular file at ${path}, but ${message}; check the path and its permissions`,
    { path, errorCode, errno },
  );
}

class NativeReader implements FlashReader, CompletionSource {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  private readonly addon: NativeAddon;
  private readonly handle: NativeHandle;
  /** What the addon calls; set only while someone awaits a promise, so that an abandoned reader can be collected. */
  private readonly listener: { onProgress: (() => void) | undefined };
  private readonly arenas: Map<number, KnownArena> = new Map();
  private readonly targets: OwnTargets = new OwnTargets((arena) => this.attachMemory(arena, true));
  private readonly batches: (TrackedReads | undefined)[] = [];
  /** Numbers of batches that may be given again; those from `freeCount` on are stale. An array that pops and grows costs more. */
  private readonly freeIds: number[] = [];
  private freeCount = 0;
  private readonly pairs: Uint32Array = new Uint32Array(2 * PAIRS_PER_CALL);
  private readonly failure: Float64Array = new Float64Array(6);
  private readonly counters: Float64Array = new Float64Array(2);
  private outCount = 0;
  private watcherCount = 0;
  private isShut = false;
  private closing: Promise<void> | undefined;
  private onIdle: (() => void) | undefined;

  constructor(
    settings: NativeReaderSettings,
    handle: NativeHandle,
    opened: readonly NativeFile[],
    listener: { onProgress: (() => void) | undefined },
  ) {
    this.addon = settings.addon;
    this.handle = handle;
    this.listener = listener;
    this.files = opened.map(({ sizeBytes }, index) => ({ path: settings.paths[index]!, sizeBytes }));
    this.capabilities = describe(settings, opened);
  }

  attach(arena: MemoryArena): void {
    this.attachMemory(arena, false);
  }

  private attachMemory(arena: MemoryArena, isFresh: boolean): void {
    if (this.closing !== undefined) throw closedError("attach");
    const { arenaId, bytes } = arena;
    if (bytes === undefined || !(bytes.buffer instanceof SharedArrayBuffer)) {
      throw new FlashlmError(
        "FLASH_OUT_OF_RANGE",
        `arena ${arenaId} must have bytes over a SharedArrayBuffer, because the system writes into it at any time`,
        { arenaId },
      );
    }
    this.arenas.set(arenaId, { arenaIndex: 0, lengthBytes: bytes.length, bytes });
    this.addon.attach(this.handle, arenaId, bytes, isFresh);
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    if (this.closing !== undefined) throw closedError("allocateTarget");
    return this.targets.allocate(lengthBytes);
  }

  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads {
    if (this.closing !== undefined) throw closedError("submit");
    const { count } = batch;
    // The addon checks each read; here only that it may look at so many.
    if (!(count >= 0 && count <= batch.capacity)) checkBatch(batch, this.files, this.arenas);
    const batchId = this.freeCount > 0 ? this.freeIds[--this.freeCount]! : this.batches.length;
    const pending = new TrackedReads(this, count, batchId);
    const refused = this.addon.submit(
      this.handle,
      batchId,
      options?.priority !== "speculative",
      count,
      batch.fileIndex,
      batch.offsetBytes,
      batch.lengthBytes,
      batch.targetArenaId,
      batch.targetOffsetBytes,
    );
    if (count === 0 || refused >= 0) this.freeIds[this.freeCount++] = batchId;
    if (refused >= 0) checkBatch(batch, this.files, this.arenas);
    this.batches[batchId] = count === 0 ? undefined : pending;
    this.outCount += count;
    return pending;
  }

  drain(): void {
    this.collect(0);
  }

  wait(readCount: number): void {
    this.collect(readCount);
  }

  private collect(waitFor: number): void {
    if (this.isShut) return;
    const { addon, handle, pairs } = this;
    let wanted = waitFor;
    for (let count = PAIRS_PER_CALL; count === PAIRS_PER_CALL; wanted = 0) {
      count = addon.collect(handle, pairs, wanted);
      for (let pair = 0; pair < count; pair++) this.endRead(pairs[2 * pair]!, pairs[2 * pair + 1]!);
    }
    if (this.outCount === 0) this.onIdle?.();
  }

  private endRead(batchId: number, indexAndFailure: number): void {
    const batch = this.batches[batchId]!;
    this.outCount--;
    if (indexAndFailure < FAILED_BIT) batch.ended(indexAndFailure, OUTCOME_LANDED, undefined);
    else {
      const index = indexAndFailure - FAILED_BIT;
      const error = this.takeFailure(index);
      batch.ended(index, this.failure[0]!, error);
    }
    if (batch.hasEnded) {
      this.batches[batchId] = undefined;
      this.freeIds[this.freeCount++] = batchId;
    }
  }

  /** Failures come in the order of their pairs. */
  private takeFailure(readIndex: number): FlashlmError {
    const { failure } = this;
    this.addon.takeFailure(this.handle, failure);
    const fileIndex = failure[3]!;
    return readError(failure[0]!, {
      readIndex,
      path: this.files[fileIndex]!.path,
      fileIndex,
      offsetBytes: failure[4]!,
      lengthBytes: failure[5]!,
      gotBytes: failure[2]!,
      errno: failure[1]!,
    });
  }

  cancel(batch: TrackedReads): void {
    if (this.isShut) return;
    this.addon.cancel(this.handle, batch.batchId);
    this.collect(0);
  }

  watch(): void {
    if (this.watcherCount++ === 0) {
      this.listener.onProgress = () => this.drain();
      this.addon.watch(this.handle, true);
    }
    this.drain();
  }

  unwatch(): void {
    if (--this.watcherCount > 0) return;
    this.listener.onProgress = undefined;
    this.addon.watch(this.handle, false);
  }

  stats(): ReaderStats {
    if (!this.isShut) this.addon.stats(this.handle, this.counters);
    return { requestCount: this.counters[0]!, readBytes: this.counters[1]! };
  }

  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    this.addon.cancel(this.handle, ALL_BATCHES);
    this.drain();
    if (this.outCount > 0) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
        this.watch();
      });
      this.unwatch();
    }
    this.addon.stats(this.handle, this.counters);
    this.isShut = true;
    this.addon.close(this.handle);
    this.arenas.clear();
  }
}

function describe(settings: NativeReaderSettings, opened: readonly NativeFile[]): ReaderCapabilities {
  const notes = new Set([settings.note, ...opened.map((file) => file.note)].filter((note) => note !== ""));
  return {
    backend: settings.backend,
    alignmentBytes: opened.reduce((largest, file) => Math.max(largest, file.alignmentBytes), 1),
    directIo: opened.length > 0 && opened.every((file) => file.alignmentBytes > 1),
    inFlightMax: settings.inFlightMax,
    readBytesMax: READ_BYTES_MAX,
    note: [...notes].join("; "),
  };
}

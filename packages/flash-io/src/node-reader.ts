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
import { HelperLink } from "./helper-link.js";
import { OwnTargets } from "./own-targets.js";
import { readError } from "./read-errors.js";
import {
  CONTROL,
  type DirectIoMode,
  type OpenedFile,
  OUTCOME_ABORTED,
  OUTCOME_FAILED,
  OUTCOME_LANDED,
  openSharedRings,
  type SharedRings,
  SLOT_CANCELLED,
  SLOT_COUNT,
  SLOT_MASK,
  SLOT_QUEUED,
} from "./shared-rings.js";
import { type CompletionSource, TrackedReads } from "./tracked-reads.js";

/** Options of {@link createNodeReader}. */
export interface NodeReaderOptions {
  /**
   * "preferred" (default) bypasses the page cache where the file system allows it and says in
   * `capabilities.note` where not; "required" fails instead; "off" reads through the cache.
   */
  readonly directIo?: DirectIoMode;
  /**
   * Reads in flight at once, 1 to 256; default 32, where the devices measured stop getting faster. libuv runs
   * as many of them at a time as UV_THREADPOOL_SIZE says (4 unless set when the process starts).
   */
  readonly inFlightMax?: number;
}

const IN_FLIGHT_DEFAULT = 32;
/** Each lane has bounce memory; more lanes than this help no device we know. */
const IN_FLIGHT_LIMIT = 256;

/**
 * Opens files for reading on a helper thread: works on every platform Node runs on, past the page cache where
 * possible. Reads longer than about 1 MiB are worth splitting by the caller, so that several are in flight.
 * @throws FLASH_OPEN when a file cannot be opened, with the system's code in `details.errorCode`; FLASH_OUT_OF_RANGE for a bad `inFlightMax`.
 */
export function createNodeReader(
  paths: readonly string[],
  options: NodeReaderOptions = {},
): Promise<FlashReader> {
  return openNodeReader(paths, options);
}

/** As {@link createNodeReader}; `note` says why a better reader was not used. */
export async function openNodeReader(
  paths: readonly string[],
  options: NodeReaderOptions,
  note = "",
): Promise<FlashReader> {
  const inFlightMax = options.inFlightMax ?? IN_FLIGHT_DEFAULT;
  if (!Number.isInteger(inFlightMax) || inFlightMax < 1 || inFlightMax > IN_FLIGHT_LIMIT) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `inFlightMax must be a whole number from 1 to ${IN_FLIGHT_LIMIT}, but is ${inFlightMax}`,
      { inFlightMax },
    );
  }
  const rings = openSharedRings();
  const directIo = options.directIo ?? "preferred";
  const link = new HelperLink(
    { rings: rings.buffer, paths: [...paths], directIo, inFlightMax },
    rings.control,
  );
  try {
    return new NodeReader(rings, link, await link.opened(), inFlightMax, note);
  } catch (error) {
    await link.abandon();
    throw error;
  }
}

class NodeReader implements FlashReader, CompletionSource {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities;
  readonly files: readonly FlashFile[];
  private readonly rings: SharedRings;
  private readonly link: HelperLink;
  private readonly alignments: readonly number[];
  private readonly arenas: Map<number, KnownArena> = new Map();
  private readonly targets: OwnTargets = new OwnTargets((arena) => this.attach(arena));
  private readonly batchBySlot: (TrackedReads | undefined)[] = new Array(SLOT_COUNT).fill(undefined);
  private readonly indexBySlot: Uint32Array = new Uint32Array(SLOT_COUNT);
  private readonly freeSlots: Uint32Array = new Uint32Array(SLOT_COUNT);
  private freeCount = 0;
  private arenaCount = 0;
  private completionHead = 0;
  private demandTail = 0;
  private speculativeTail = 0;
  private watcherCount = 0;
  private requestCount = 0;
  private readBytes = 0;
  private isDead = false;
  private closing: Promise<void> | undefined;
  private onIdle: (() => void) | undefined;

  constructor(
    rings: SharedRings,
    link: HelperLink,
    opened: readonly OpenedFile[],
    inFlightMax: number,
    note: string,
  ) {
    this.rings = rings;
    this.link = link;
    this.files = opened.map(({ path, sizeBytes }) => ({ path, sizeBytes }));
    this.alignments = opened.map((file) => file.alignmentBytes);
    this.capabilities = describe(opened, inFlightMax, note);
    for (let slot = SLOT_COUNT - 1; slot >= 0; slot--) this.freeSlots[this.freeCount++] = slot;
    link.listen(
      () => this.drainForWatchers(),
      () => this.buryHelper(),
    );
  }

  attach(arena: MemoryArena): void {
    if (this.closing !== undefined) throw closedError("attach");
    const { bytes } = arena;
    if (bytes === undefined || !(bytes.buffer instanceof SharedArrayBuffer)) {
      throw new FlashlmError(
        "FLASH_OUT_OF_RANGE",
        `arena ${arena.arenaId} must have bytes over a SharedArrayBuffer, because a helper thread writes into it`,
        { arenaId: arena.arenaId },
      );
    }
    const arenaIndex = this.arenaCount++;
    this.arenas.set(arena.arenaId, { arenaIndex, lengthBytes: bytes.length, bytes });
    this.link.send({ kind: "attach", arenaIndex, bytes });
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    if (this.closing !== undefined) throw closedError("allocateTarget");
    return this.targets.allocate(lengthBytes);
  }

  submit(batch: ReadBatch, options?: { readonly priority?: ReadPriority }): PendingReads {
    if (this.closing !== undefined) throw closedError("submit");
    checkBatch(batch, this.files, this.arenas);
    if (this.isDead) throw helperError();
    const pending = new TrackedReads(this, batch.count);
    const isDemand = options?.priority !== "speculative";
    for (let index = 0; index < batch.count; index++) {
      if (this.freeCount === 0) this.makeRoom();
      if (this.isDead) pending.ended(index, OUTCOME_FAILED, helperError(index));
      else this.enqueue(pending, batch, index, isDemand);
    }
    this.publish();
    return pending;
  }

  private enqueue(pending: TrackedReads, batch: ReadBatch, index: number, isDemand: boolean): void {
    const { rings } = this;
    const slot = this.freeSlots[--this.freeCount]!;
    rings.fileIndex[slot] = batch.fileIndex[index]!;
    rings.offsetBytes[slot] = batch.offsetBytes[index]!;
    rings.lengthBytes[slot] = batch.lengthBytes[index]!;
    rings.targetOffsetBytes[slot] = batch.targetOffsetBytes[index]!;
    rings.arenaIndex[slot] = this.arenas.get(batch.targetArenaId[index]!)!.arenaIndex;
    rings.state[slot] = SLOT_QUEUED;
    this.batchBySlot[slot] = pending;
    this.indexBySlot[slot] = index;
    pending.queued(index, slot);
    if (isDemand) rings.demandRing[this.demandTail++ & SLOT_MASK] = slot;
    else rings.speculativeRing[this.speculativeTail++ & SLOT_MASK] = slot;
  }

  /** Makes the ring entries written so far visible, all at once. */
  private publish(): void {
    const { control } = this.rings;
    this.demandTail |= 0;
    this.speculativeTail |= 0;
    Atomics.store(control, CONTROL.demandTail, this.demandTail);
    Atomics.store(control, CONTROL.speculativeTail, this.speculativeTail);
    this.link.ringDoorbell();
  }

  private makeRoom(): void {
    this.publish();
    this.drain();
    while (this.freeCount === 0) this.wait(1);
  }

  drain(): void {
    const { control, completionRing } = this.rings;
    const tail = Atomics.load(control, CONTROL.completionTail);
    while (this.completionHead !== tail && !this.isDead) {
      const slot = completionRing[this.completionHead & SLOT_MASK]!;
      this.completionHead = (this.completionHead + 1) | 0;
      this.endSlot(slot);
    }
    if (this.freeCount === SLOT_COUNT) this.onIdle?.();
  }

  wait(readCount: number): void {
    const seenCount = this.completionHead;
    const isAlive = this.link.waitRound(seenCount, readCount);
    this.drain();
    if (!isAlive && this.completionHead === seenCount) this.buryHelper();
  }

  private endSlot(slot: number): void {
    const { rings } = this;
    const batch = this.batchBySlot[slot];
    this.batchBySlot[slot] = undefined;
    this.freeSlots[this.freeCount++] = slot;
    if (batch === undefined) return;
    const outcome = rings.outcome[slot]!;
    const index = this.indexBySlot[slot]!;
    this.count(slot);
    if (outcome === OUTCOME_LANDED) batch.ended(index, outcome, undefined);
    else batch.ended(index, outcome, this.slotError(slot, index, outcome));
  }

  private slotError(slot: number, readIndex: number, outcome: number): FlashlmError {
    const { rings } = this;
    const fileIndex = rings.fileIndex[slot]!;
    return readError(outcome, {
      readIndex,
      path: this.files[fileIndex]!.path,
      fileIndex,
      offsetBytes: rings.offsetBytes[slot]!,
      lengthBytes: rings.lengthBytes[slot]!,
      gotBytes: rings.gotBytes[slot]!,
      errno: rings.errorNumber[slot]!,
    });
  }

  private count(slot: number): void {
    const { rings } = this;
    const alignment = this.alignments[rings.fileIndex[slot]!]!;
    const startBytes = rings.offsetBytes[slot]!;
    const endBytes = startBytes + rings.lengthBytes[slot]!;
    this.requestCount++;
    this.readBytes += Math.ceil(endBytes / alignment) * alignment - startBytes + (startBytes % alignment);
  }

  cancel(batch: TrackedReads): void {
    for (const slot of batch.openSlots()) this.giveUp(slot);
  }

  private giveUp(slot: number): void {
    const { state } = this.rings;
    if (Atomics.compareExchange(state, slot, SLOT_QUEUED, SLOT_CANCELLED) !== SLOT_QUEUED) return;
    const batch = this.batchBySlot[slot];
    const index = this.indexBySlot[slot]!;
    // The helper never touches the target now; it only returns the slot when it comes by.
    this.batchBySlot[slot] = undefined;
    batch?.ended(index, OUTCOME_ABORTED, this.slotError(slot, index, OUTCOME_ABORTED));
  }

  watch(): void {
    this.watcherCount++;
    this.link.hold();
    this.drainForWatchers();
  }

  unwatch(): void {
    this.watcherCount--;
    this.link.unhold();
  }

  private drainForWatchers(): void {
    // Wanted before the drain: a completion after it then sends a message.
    if (this.watcherCount > 0) Atomics.store(this.rings.control, CONTROL.messageWanted, 1);
    this.drain();
  }

  /** The helper is gone: everything still out there has failed. */
  private buryHelper(): void {
    if (this.isDead) return;
    this.drain();
    this.isDead = true;
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      const batch = this.batchBySlot[slot];
      this.batchBySlot[slot] = undefined;
      const index = this.indexBySlot[slot]!;
      batch?.ended(index, OUTCOME_FAILED, helperError(index));
    }
    this.freeCount = SLOT_COUNT;
    this.onIdle?.();
  }

  stats(): ReaderStats {
    this.drain();
    return { requestCount: this.requestCount, readBytes: this.readBytes };
  }

  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    this.drain();
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if (this.batchBySlot[slot] !== undefined) this.giveUp(slot);
    }
    if (this.freeCount < SLOT_COUNT) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
        this.watch();
      });
      this.unwatch();
    }
    if (this.isDead) await this.link.abandon();
    else await this.link.close();
    this.isDead = true;
  }
}

function describe(opened: readonly OpenedFile[], inFlightMax: number, note: string): ReaderCapabilities {
  const alignmentBytes = opened.reduce((largest, file) => Math.max(largest, file.alignmentBytes), 1);
  const notes = new Set([note, ...opened.map((file) => file.note)].filter((text) => text !== ""));
  return {
    backend: "node",
    alignmentBytes,
    directIo: opened.length > 0 && opened.every((file) => file.alignmentBytes > 1),
    inFlightMax,
    readBytesMax: READ_BYTES_MAX,
    note: [...notes].join("; "),
  };
}

function helperError(readIndex?: number): FlashlmError {
  return new FlashlmError(
    "FLASH_IO",
    "the reader's helper thread has ended or no longer answers; close the reader and open a new one",
    { errorCode: "HELPER_DEAD", readIndex },
  );
}

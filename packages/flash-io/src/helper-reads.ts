import { read } from "node:fs";
import type { OpenHandle } from "./direct-open.js";
import { allocatePages } from "./page-memory.js";
import {
  CONTROL,
  OUTCOME_ABORTED,
  OUTCOME_FAILED,
  OUTCOME_LANDED,
  OUTCOME_SHORT,
  type SharedRings,
  SLOT_MASK,
  SLOT_QUEUED,
  SLOT_STARTED,
} from "./shared-rings.js";

/** Bounce memory of one lane: large enough for device speed, small enough that all lanes fit in a few MiB. */
const BOUNCE_BYTES = 256 * 1024;

/** Reads in flight from which on the doorbell stays silent: a message costs the engine's thread more than the short wait does. */
const QUIET_LANES = 4;

interface HelperArena {
  readonly bytes: Uint8Array;
  /** False once the kernel has refused an aligned read into it: its base address is then not aligned. */
  isAligned: boolean;
}

/** One of the reads in flight. Lanes and their callbacks are made once. */
class ReadLane {
  slot = 0;
  bounces = false;
  /** Bytes of the read that have arrived. */
  doneBytes = 0;
  /** File position of the chunk in the bounce memory. */
  chunkStartBytes = 0;
  arena: HelperArena | undefined;
  file: OpenHandle | undefined;
  readonly bounceBase: number;
  readonly onRead: (error: NodeJS.ErrnoException | null, readBytes: number) => void;

  constructor(
    laneIndex: number,
    onRead: (lane: ReadLane, error: NodeJS.ErrnoException | null, n: number) => void,
  ) {
    this.bounceBase = laneIndex * BOUNCE_BYTES;
    this.onRead = (error, readBytes) => onRead(this, error, readBytes);
  }
}

/** The helper's half of the node reader: takes slots from the rings and keeps reads in flight. */
export class HelperReads {
  private readonly rings: SharedRings;
  private readonly files: readonly OpenHandle[];
  private readonly onProgress: () => void;
  private readonly arenas: (HelperArena | undefined)[] = [];
  private readonly idleLanes: ReadLane[] = [];
  private readonly bounce: Uint8Array;
  private readonly laneCount: number;
  private demandHead = 0;
  private speculativeHead = 0;
  private completionTail = 0;

  constructor(rings: SharedRings, files: readonly OpenHandle[], inFlightMax: number, onProgress: () => void) {
    this.rings = rings;
    this.files = files;
    this.onProgress = onProgress;
    this.laneCount = inFlightMax;
    this.bounce = allocatePages(inFlightMax * BOUNCE_BYTES);
    for (let lane = 0; lane < inFlightMax; lane++) {
      this.idleLanes.push(new ReadLane(lane, (ended, error, n) => this.afterRead(ended, error, n)));
    }
  }

  attach(arenaIndex: number, bytes: Uint8Array): void {
    this.arenas[arenaIndex] = { bytes, isAligned: true };
    this.pump();
  }

  /** Starts as many waiting reads as there are idle lanes, demand first. */
  pump(): void {
    const { control, demandRing, speculativeRing } = this.rings;
    // Cleared before the rings are looked at: a read pushed after the look rings the bell again.
    Atomics.store(control, CONTROL.doorbell, 0);
    while (this.idleLanes.length > 0) {
      if (this.demandHead !== Atomics.load(control, CONTROL.demandTail)) {
        if (!this.start(demandRing[this.demandHead & SLOT_MASK]!)) return;
        this.demandHead = (this.demandHead + 1) | 0;
      } else if (this.speculativeHead !== Atomics.load(control, CONTROL.speculativeTail)) {
        if (!this.start(speculativeRing[this.speculativeHead & SLOT_MASK]!)) return;
        this.speculativeHead = (this.speculativeHead + 1) | 0;
      } else break;
    }
    // With enough reads in flight a completion is near, and it pumps: nobody needs to ring.
    if (this.idleLanes.length === 0 || this.laneCount - this.idleLanes.length >= QUIET_LANES) {
      Atomics.store(control, CONTROL.doorbell, 1);
    }
  }

  /** False when the slot's arena is still on its way in a message, which will pump again. */
  private start(slot: number): boolean {
    const { rings } = this;
    const arena = this.arenas[rings.arenaIndex[slot]!];
    if (arena === undefined) return false;
    if (Atomics.compareExchange(rings.state, slot, SLOT_QUEUED, SLOT_STARTED) !== SLOT_QUEUED) {
      this.complete(slot, OUTCOME_ABORTED, 0, 0);
      return true;
    }
    const lane = this.idleLanes.pop()!;
    const file = this.files[rings.fileIndex[slot]!]!;
    lane.slot = slot;
    lane.arena = arena;
    lane.file = file;
    lane.doneBytes = 0;
    const alignment = file.alignmentBytes;
    const targetBytes = arena.bytes.byteOffset + rings.targetOffsetBytes[slot]!;
    lane.bounces =
      alignment > 1 &&
      (!arena.isAligned ||
        rings.offsetBytes[slot]! % alignment !== 0 ||
        rings.lengthBytes[slot]! % alignment !== 0 ||
        targetBytes % alignment !== 0);
    this.issue(lane);
    return true;
  }

  private issue(lane: ReadLane): void {
    const { rings } = this;
    const { slot } = lane;
    const file = lane.file!;
    const positionBytes = rings.offsetBytes[slot]! + lane.doneBytes;
    const restBytes = rings.lengthBytes[slot]! - lane.doneBytes;
    if (!lane.bounces) {
      const target = rings.targetOffsetBytes[slot]! + lane.doneBytes;
      read(file.descriptor, lane.arena!.bytes, target, restBytes, positionBytes, lane.onRead);
      return;
    }
    const alignment = file.alignmentBytes;
    lane.chunkStartBytes = positionBytes - (positionBytes % alignment);
    const endBytes = Math.ceil((positionBytes + restBytes) / alignment) * alignment;
    const chunkBytes = Math.min(endBytes - lane.chunkStartBytes, BOUNCE_BYTES);
    read(file.descriptor, this.bounce, lane.bounceBase, chunkBytes, lane.chunkStartBytes, lane.onRead);
  }

  private afterRead(lane: ReadLane, error: NodeJS.ErrnoException | null, readBytes: number): void {
    const { rings } = this;
    const { slot } = lane;
    if (error !== null) {
      if (!lane.bounces && error.code === "EINVAL" && lane.file!.alignmentBytes > 1) {
        lane.arena!.isAligned = false;
        lane.bounces = true;
        this.issue(lane);
        return;
      }
      this.finish(lane, OUTCOME_FAILED, error.errno ?? 0);
      return;
    }
    const arrivedBytes = lane.bounces ? this.copyChunk(lane, readBytes) : readBytes;
    lane.doneBytes += arrivedBytes;
    if (lane.doneBytes >= rings.lengthBytes[slot]!) this.finish(lane, OUTCOME_LANDED, 0);
    else if (arrivedBytes <= 0) this.finish(lane, OUTCOME_SHORT, 0);
    else {
      // A partial read may end anywhere; what is left of it is no longer aligned.
      if (lane.doneBytes % lane.file!.alignmentBytes !== 0) lane.bounces = true;
      this.issue(lane);
    }
  }

  /** Copies what is wanted of a chunk of `readBytes`; returns how many new bytes that was. */
  private copyChunk(lane: ReadLane, readBytes: number): number {
    const { rings } = this;
    const offsetBytes = rings.offsetBytes[lane.slot]!;
    const fromBytes = offsetBytes + lane.doneBytes;
    const untilBytes = Math.min(
      lane.chunkStartBytes + readBytes,
      offsetBytes + rings.lengthBytes[lane.slot]!,
    );
    if (untilBytes <= fromBytes) return 0;
    const source = lane.bounceBase + fromBytes - lane.chunkStartBytes;
    lane.arena!.bytes.set(
      this.bounce.subarray(source, source + untilBytes - fromBytes),
      rings.targetOffsetBytes[lane.slot]! + lane.doneBytes,
    );
    return untilBytes - fromBytes;
  }

  private finish(lane: ReadLane, outcome: number, errorNumber: number): void {
    const { slot, doneBytes } = lane;
    lane.arena = undefined;
    lane.file = undefined;
    this.idleLanes.push(lane);
    this.complete(slot, outcome, doneBytes, errorNumber);
    this.pump();
  }

  private complete(slot: number, outcome: number, gotBytes: number, errorNumber: number): void {
    const { rings } = this;
    const { control } = rings;
    rings.outcome[slot] = outcome;
    rings.gotBytes[slot] = gotBytes;
    rings.errorNumber[slot] = errorNumber;
    rings.completionRing[this.completionTail & SLOT_MASK] = slot;
    this.completionTail = (this.completionTail + 1) | 0;
    Atomics.store(control, CONTROL.completionTail, this.completionTail);
    const wakeAt = Atomics.load(control, CONTROL.wakeAt);
    if (((this.completionTail - wakeAt) | 0) >= 0) Atomics.notify(control, CONTROL.completionTail);
    if (Atomics.exchange(control, CONTROL.messageWanted, 0) === 1) this.onProgress();
  }
}

/**
 * Memory that the engine thread and the helper thread share. A read lives in a slot; rings carry slot numbers.
 * There are as many slots as ring entries, so a ring can never overflow and its head need not be shared.
 */
export const SLOT_COUNT = 16384;
/** Ring positions are taken modulo the (power of two) slot count with this mask. */
export const SLOT_MASK: number = SLOT_COUNT - 1;

/** Control words stand 16 apart: one cache line each, so that the two threads do not fight over lines. */
export const CONTROL = {
  demandTail: 0,
  speculativeTail: 16,
  completionTail: 32,
  /** 1 while the helper needs no doorbell: one was rung, or a completion will make it look at the rings. */
  doorbell: 48,
  /** Completion count at which the engine wants to be woken. */
  wakeAt: 64,
  /** 1 while someone awaits a promise, so that completions also send a message. */
  messageWanted: 80,
  /** Grows when the helper answers a ping. */
  heartbeat: 96,
  /** 1 once the helper knows that it dies. */
  dead: 112,
} as const;

const CONTROL_WORDS = 128;

/** Values of `state`. */
export const SLOT_QUEUED = 1;
/** The helper has taken the read; it can no longer be cancelled. */
export const SLOT_STARTED = 2;
/** The engine has given the read up; the helper only hands the slot back. */
export const SLOT_CANCELLED = 3;

/** Values of `outcome` and of a pending read's state once it has ended. */
export const OUTCOME_LANDED = 1;
/** The file ended early. */
export const OUTCOME_SHORT = 2;
/** The operating system refused the read. */
export const OUTCOME_FAILED = 3;
/** Cancelled before it started. */
export const OUTCOME_ABORTED = 4;

/** Typed views of the shared memory; `[SLOT_COUNT]` each but `control`. */
export interface SharedRings {
  readonly buffer: SharedArrayBuffer;
  readonly control: Int32Array;
  readonly offsetBytes: Float64Array;
  readonly lengthBytes: Float64Array;
  readonly targetOffsetBytes: Float64Array;
  readonly gotBytes: Float64Array;
  readonly fileIndex: Int32Array;
  readonly arenaIndex: Int32Array;
  readonly state: Int32Array;
  readonly outcome: Int32Array;
  readonly errorNumber: Int32Array;
  readonly demandRing: Int32Array;
  readonly speculativeRing: Int32Array;
  readonly completionRing: Int32Array;
}

const DOUBLE_TABLES = 4;
const WORD_TABLES = 8;

/** Views over `buffer`, or over new memory. */
export function openSharedRings(buffer?: SharedArrayBuffer): SharedRings {
  const lengthBytes = DOUBLE_TABLES * SLOT_COUNT * 8 + (WORD_TABLES * SLOT_COUNT + CONTROL_WORDS) * 4;
  const memory = buffer ?? new SharedArrayBuffer(lengthBytes);
  const doubles = (index: number): Float64Array =>
    new Float64Array(memory, index * SLOT_COUNT * 8, SLOT_COUNT);
  const wordBase = DOUBLE_TABLES * SLOT_COUNT * 8;
  const words = (index: number): Int32Array =>
    new Int32Array(memory, wordBase + index * SLOT_COUNT * 4, SLOT_COUNT);
  return {
    buffer: memory,
    control: new Int32Array(memory, wordBase + WORD_TABLES * SLOT_COUNT * 4, CONTROL_WORDS),
    offsetBytes: doubles(0),
    lengthBytes: doubles(1),
    targetOffsetBytes: doubles(2),
    gotBytes: doubles(3),
    fileIndex: words(0),
    arenaIndex: words(1),
    state: words(2),
    outcome: words(3),
    errorNumber: words(4),
    demandRing: words(5),
    speculativeRing: words(6),
    completionRing: words(7),
  };
}

/** How page-cache bypass is asked for. */
export type DirectIoMode = "preferred" | "required" | "off";

/** What the helper thread is started with. */
export interface HelperData {
  readonly rings: SharedArrayBuffer;
  readonly paths: readonly string[];
  readonly directIo: DirectIoMode;
  readonly inFlightMax: number;
}

/** Messages to the helper thread. */
export type HelperMessage =
  | { readonly kind: "doorbell" | "ping" | "close" }
  | { readonly kind: "attach"; readonly arenaIndex: number; readonly bytes: Uint8Array };

/** A file as the helper opened it; `alignmentBytes` is 1 when the page cache is used. */
export interface OpenedFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly alignmentBytes: number;
  readonly note: string;
}

/** Messages from the helper thread. */
export type EngineMessage =
  | { readonly kind: "opened"; readonly files: readonly OpenedFile[] }
  | {
      readonly kind: "refused";
      readonly path: string;
      readonly message: string;
      readonly errorCode: string;
      readonly errorNumber: number;
    }
  | { readonly kind: "progress" };

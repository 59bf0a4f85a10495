/** What a thread makes and writes at once: large enough that a device reaches its full speed. */
export const PIECE_BYTES: number = 8 * 2 ** 20;
const MIB = 2 ** 20;
const PAGE_BYTES = 65_536;
/** How long a thread waits before it looks whether the work was stopped. */
const WAIT_MS = 50;

/** Words of the control: pieces that threads took to fill and to write, the MiB written, not zero to stop, how often a slot was filled and emptied, then one per slot. */
const FILLING = 0;
const WRITING = 1;
const WRITTEN = 2;
const STOPPED = 3;
const FILLED = 4;
const EMPTIED = 5;
const SLOTS = 6;
/** A slot's word is one of these or 1 + the number of the piece in it. */
const EMPTY = 0;
const CLAIMED = -1;

/** What threads share of {@link PieceSlots}; plain data. */
export interface SharedPieces {
  readonly bytes: Uint8Array;
  /** i32. */
  readonly control: Int32Array;
}

/** Shared memory of `slotCount` pieces, aligned as direct writes want it. */
export function sharePieces(slotCount: number): SharedPieces {
  const pages = (slotCount * PIECE_BYTES) / PAGE_BYTES;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return {
    bytes: new Uint8Array(memory.buffer),
    control: new Int32Array(new SharedArrayBuffer(4 * (SLOTS + slotCount))),
  };
}

/** A piece in memory. */
export interface PieceSlot {
  readonly slot: number;
  /** Of {@link PIECE_BYTES}. */
  readonly bytes: Uint8Array;
}

/**
 * Pieces on their way from the threads that fill them to those that write them, in any order: a piece that takes
 * long holds up no other. All waits end when the work is stopped.
 */
export class PieceSlots {
  readonly #bytes: Uint8Array;
  readonly #control: Int32Array;
  readonly #slotCount: number;

  constructor({ bytes, control }: SharedPieces) {
    this.#bytes = bytes;
    this.#control = control;
    this.#slotCount = control.length - SLOTS;
  }

  /** The next piece that nobody fills yet. */
  takePiece(): number {
    return Atomics.add(this.#control, FILLING, 1);
  }

  /** How many pieces threads had set out to write before this call: each thread claims one behind each call. */
  takeWrite(): number {
    return Atomics.add(this.#control, WRITING, 1);
  }

  /** A slot to fill; null when stopped. */
  claimEmpty(): PieceSlot | null {
    return this.#await(EMPTIED, (slot) => (this.#claim(slot, EMPTY) ? this.#at(slot) : null));
  }

  /** Hands a filled slot over. */
  markFilled(slot: number, piece: number): void {
    this.#set(slot, piece + 1, FILLED);
  }

  /** A slot to write; null when stopped. */
  claimFilled(): (PieceSlot & { readonly piece: number }) | null {
    return this.#await(FILLED, (slot) => {
      const word = Atomics.load(this.#control, SLOTS + slot);
      const isFilled = word !== EMPTY && word !== CLAIMED && this.#claim(slot, word);
      return isFilled ? { ...this.#at(slot), piece: word - 1 } : null;
    });
  }

  /** Gives a written slot back. */
  markWritten(slot: number, lengthBytes: number): void {
    Atomics.add(this.#control, WRITTEN, Math.ceil(lengthBytes / MIB));
    this.#set(slot, EMPTY, EMPTIED);
  }

  /** Bytes written so far, a MiB at most too many per file. */
  get writtenBytes(): number {
    return Atomics.load(this.#control, WRITTEN) * MIB;
  }

  /** Ends the work of all threads at their next piece. */
  stop(): void {
    Atomics.store(this.#control, STOPPED, 1);
  }

  #claim(slot: number, word: number): boolean {
    return Atomics.compareExchange(this.#control, SLOTS + slot, word, CLAIMED) === word;
  }

  #at(slot: number): PieceSlot {
    return { slot, bytes: this.#bytes.subarray(slot * PIECE_BYTES, (slot + 1) * PIECE_BYTES) };
  }

  #set(slot: number, word: number, event: number): void {
    Atomics.store(this.#control, SLOTS + slot, word);
    Atomics.add(this.#control, event, 1);
    Atomics.notify(this.#control, event);
  }

  /** The first slot that `take` takes, waiting for `event` as long as it takes none. */
  #await<T>(event: number, take: (slot: number) => T | null): T | null {
    for (;;) {
      const seen = Atomics.load(this.#control, event);
      if (Atomics.load(this.#control, STOPPED) !== 0) return null;
      for (let slot = 0; slot < this.#slotCount; slot++) {
        const taken = take(slot);
        if (taken !== null) return taken;
      }
      Atomics.wait(this.#control, event, seen, WAIT_MS);
    }
  }
}

import type { MemoryHandle, VectorRef, WordRef } from "@flashlm/contracts";
import { ADDRESS_UNIT_BYTES, FlashlmError } from "@flashlm/contracts";

/** Typed views of the whole arena. */
export class Views {
  readonly lengthBytes: number;
  readonly bytes: Uint8Array;
  readonly signedBytes: Int8Array;
  readonly halves: Uint16Array;
  readonly words: Uint32Array;
  readonly floats: Float32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.lengthBytes = buffer.byteLength;
    this.bytes = new Uint8Array(buffer);
    this.signedBytes = new Int8Array(buffer);
    this.halves = new Uint16Array(buffer);
    this.words = new Uint32Array(buffer);
    this.floats = new Float32Array(buffer);
  }

  /** Value of a word. */
  word(ref: WordRef): number {
    return this.words[ref.offsetBytes / 4]!;
  }

  /** Word `index` of a list. */
  wordAt(list: MemoryHandle, index: number): number {
    return this.words[list.offsetBytes / 4 + index]!;
  }

  /** f32 `index` of a vector. */
  floatAt(list: MemoryHandle, index: number): number {
    return this.floats[list.offsetBytes / 4 + index]!;
  }

  /** Where a reference points now, in bytes. */
  resolve(base: VectorRef): number {
    if (!("addressWord" in base)) return base.offsetBytes;
    return this.word(base.addressWord) * ADDRESS_UNIT_BYTES + base.offsetBytes;
  }

  /** f32 `index` of a vector that may move; 0 where there is none. */
  vectorAt(base: VectorRef | undefined, index: number): number {
    return base === undefined ? 0 : this.floats[this.resolve(base) / 4 + index]!;
  }

  /** Bytes where record `position` begins. @throws KERNEL_SHAPE where it would reach beyond memory. */
  record(addresses: MemoryHandle, position: number, lengthBytes: number): number {
    const offsetBytes = this.wordAt(addresses, position) * ADDRESS_UNIT_BYTES;
    if (offsetBytes > 0 && offsetBytes + lengthBytes <= this.lengthBytes) return offsetBytes;
    throw new FlashlmError(
      "KERNEL_SHAPE",
      `expected the address of record ${position} within ${this.lengthBytes} bytes of memory, got byte ${offsetBytes}`,
      { offsetBytes, lengthBytes },
    );
  }
}

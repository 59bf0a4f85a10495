import { FlashlmError } from "@flashlm/contracts";
import type { PositionalFile } from "./positional-file.js";

/** Read ahead of this many bytes: a header of a MiB or two takes a few reads. */
const WINDOW_BYTES = 1 << 20;

/** Reads little-endian fields one after another, within the first `limitBytes` of a file. */
export class GgufCursor {
  /** Next byte to be read. */
  positionBytes = 0;
  readonly #file: PositionalFile;
  readonly #limitBytes: number;
  #window: Buffer = Buffer.alloc(0);
  #windowBegin = 0;

  /** @param limitBytes - more than this is never read, whatever lengths the file claims. */
  constructor(file: PositionalFile, limitBytes: number) {
    this.#file = file;
    this.#limitBytes = limitBytes;
  }

  /** Bytes of the file that have not been read yet. */
  get remainingBytes(): number {
    return this.#file.sizeBytes - this.positionBytes;
  }

  /** @throws CHECKPOINT_TRUNCATED, CHECKPOINT_LIMIT. @returns index into the window. */
  #take(lengthBytes: number): number {
    const end = this.positionBytes + lengthBytes;
    if (end > this.#file.sizeBytes) {
      throw new FlashlmError(
        "CHECKPOINT_TRUNCATED",
        `${this.#file.path} ends at ${this.#file.sizeBytes} bytes within its header, which needs ${end}; download it again`,
        { path: this.#file.path, wantedBytes: end, foundBytes: this.#file.sizeBytes },
      );
    }
    if (end > this.#limitBytes) {
      throw new FlashlmError(
        "CHECKPOINT_LIMIT",
        `the header of ${this.#file.path} is longer than the ${this.#limitBytes} bytes that are read`,
        { path: this.#file.path, limitBytes: this.#limitBytes },
      );
    }
    if (end > this.#windowBegin + this.#window.length) {
      const wanted = Math.max(lengthBytes, WINDOW_BYTES);
      this.#window = Buffer.alloc(Math.min(wanted, this.#file.sizeBytes - this.positionBytes));
      this.#windowBegin = this.positionBytes;
      this.#file.readInto(this.#window, this.#windowBegin);
    }
    const at = this.positionBytes - this.#windowBegin;
    this.positionBytes = end;
    return at;
  }

  /** Copies the next bytes as text. */
  utf8(lengthBytes: number): string {
    const at = this.#take(lengthBytes);
    return this.#window.toString("utf8", at, at + lengthBytes);
  }
  /** Next unsigned byte. */
  u8(): number {
    const at = this.#take(1);
    return this.#window.readUInt8(at);
  }
  /** Next signed byte. */
  i8(): number {
    const at = this.#take(1);
    return this.#window.readInt8(at);
  }
  /** Next unsigned 16-bit number. */
  u16(): number {
    const at = this.#take(2);
    return this.#window.readUInt16LE(at);
  }
  /** Next signed 16-bit number. */
  i16(): number {
    const at = this.#take(2);
    return this.#window.readInt16LE(at);
  }
  /** Next unsigned 32-bit number. */
  u32(): number {
    const at = this.#take(4);
    return this.#window.readUInt32LE(at);
  }
  /** Next signed 32-bit number. */
  i32(): number {
    const at = this.#take(4);
    return this.#window.readInt32LE(at);
  }
  /** Next binary32. */
  f32(): number {
    const at = this.#take(4);
    return this.#window.readFloatLE(at);
  }
  /** Next binary64. */
  f64(): number {
    const at = this.#take(8);
    return this.#window.readDoubleLE(at);
  }
  /** Next unsigned 64-bit number; a number where it is exact. */
  u64(): number | bigint {
    const at = this.#take(8);
    const high = this.#window.readUInt32LE(at + 4);
    if (high < 0x200000) return high * 2 ** 32 + this.#window.readUInt32LE(at);
    return this.#window.readBigUInt64LE(at);
  }
  /** Next signed 64-bit number; a number where it is exact. */
  i64(): number | bigint {
    const at = this.#take(8);
    const value = this.#window.readBigInt64LE(at);
    const near = Number(value);
    return Number.isSafeInteger(near) ? near : value;
  }
  /** Next unsigned 64-bit number, infinity where it is beyond 2^53: for lengths, which are compared with limits. */
  length(): number {
    const value = this.u64();
    return typeof value === "number" ? value : Number.POSITIVE_INFINITY;
  }
}

/// <reference path="../web-assembly.d.ts" />
import { ADDRESS_UNIT_BYTES, FlashlmError } from "@flashlm/contracts";
import { FAULT_ADDRESS } from "../../../assembly/layout.js";
import { faultOf } from "../runner.js";

/** How each memory of an arena is divided. Bytes. */
export interface SegmentSizes {
  readonly segmentBytes: number;
  /** What the kernels keep for themselves at the start of each. */
  readonly heapBytes: number;
  /** Scratch behind that, for operands that lie in other memories. */
  readonly exchangeBytes: number;
}

/** The memories that an arena is made of, as the host sees them. An address is an offset in bytes from the arena's start. */
export class Segments {
  readonly segmentBytes: number;
  /** The same in units of record addresses. */
  readonly segmentUnits: number;
  readonly bytes: readonly Uint8Array[];
  readonly words: readonly Uint32Array[];
  readonly floats: readonly Float32Array[];

  constructor(memories: readonly WebAssembly.Memory[], segmentBytes: number) {
    this.segmentBytes = segmentBytes;
    this.segmentUnits = segmentBytes / ADDRESS_UNIT_BYTES;
    this.bytes = memories.map(({ buffer }) => new Uint8Array(buffer, 0, segmentBytes));
    this.words = memories.map(({ buffer }) => new Uint32Array(buffer, 0, segmentBytes / 4));
    this.floats = memories.map(({ buffer }) => new Float32Array(buffer, 0, segmentBytes / 4));
  }

  /** Index of the memory that an address lies in. */
  indexOf(address: number): number {
    return Math.floor(address / this.segmentBytes);
  }

  /** Offset in its memory. */
  localOf(address: number): number {
    // The remainder of numbers beyond 32 bits is far slower than this.
    return address - Math.floor(address / this.segmentBytes) * this.segmentBytes;
  }

  /** True where all bytes from `address` on lie in one memory of the arena. */
  holds(address: number, lengthBytes: number): boolean {
    if (address < 0 || this.indexOf(address) >= this.bytes.length) return false;
    return this.localOf(address) + lengthBytes <= this.segmentBytes;
  }

  /** @throws KERNEL_SHAPE where the bytes do not lie in one memory. */
  check(address: number, lengthBytes: number): void {
    if (this.holds(address, lengthBytes)) return;
    throw new FlashlmError(
      "KERNEL_SHAPE",
      `expected ${lengthBytes} bytes within one memory of ${this.segmentBytes} bytes, got address ${address}; ` +
        "a token count, position or address word is wrong",
      { address, lengthBytes },
    );
  }

  /** Index of the memory of the record at a unit. @throws KERNEL_SHAPE where it has none or would reach beyond its memory. */
  recordIndex(unit: number, lengthBytes: number): number {
    const index = Math.floor(unit / this.segmentUnits);
    const endBytes = (unit - index * this.segmentUnits) * ADDRESS_UNIT_BYTES + lengthBytes;
    if (unit > 0 && index < this.bytes.length && endBytes <= this.segmentBytes) return index;
    throw faultOf(FAULT_ADDRESS);
  }

  /** The u32 at an address, a multiple of 4. */
  word(address: number): number {
    return this.words[this.indexOf(address)]![this.localOf(address) / 4]!;
  }

  /** The u32 from an address on, to the end of its memory. */
  list(address: number): Uint32Array {
    return this.words[this.indexOf(address)]!.subarray(this.localOf(address) / 4);
  }

  /** Copies rows of bytes; the distance from row to row may differ. */
  copy(
    to: { readonly address: number; readonly pitchBytes: number },
    from: { readonly address: number; readonly pitchBytes: number },
    rowBytes: number,
    rowCount: number,
  ): void {
    const isWhole = to.pitchBytes === rowBytes && from.pitchBytes === rowBytes;
    const lengthBytes = isWhole ? rowBytes * rowCount : rowBytes;
    const source = this.bytes[this.indexOf(from.address)]!;
    const target = this.bytes[this.indexOf(to.address)]!;
    let [fromBytes, toBytes] = [this.localOf(from.address), this.localOf(to.address)];
    for (let row = 0; row < (isWhole ? 1 : rowCount); row++) {
      target.set(source.subarray(fromBytes, fromBytes + lengthBytes), toBytes);
      fromBytes += from.pitchBytes;
      toBytes += to.pitchBytes;
    }
  }
}

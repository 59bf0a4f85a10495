import type { KernelMemory, MemoryArena, MemoryHandle } from "@flashlm/contracts";
import { alignUp, FlashlmError } from "@flashlm/contracts";
import type { SegmentSizes, Segments } from "./segments.js";

/** Where allocations go: by size, or each into the next memory. */
export type Placement = "sized" | "scattered";

/** A cache line: the default alignment of allocations. */
const LINE_BYTES = 64;
/** Allocations above this share of a memory are large: 64 MiB where a memory has 4 GiB. */
const LARGE_SHARE = 1 / 64;

/**
 * One arena over several memories, allocated upwards in each and never freed singly. Small allocations go to the first memory, where
 * most ops then find all they need; large ones go to the others as long as there is room.
 */
export class SpanningMemory implements KernelMemory {
  readonly arenas: readonly MemoryArena[];
  readonly segmentBytes: number;
  readonly #segments: Segments;
  readonly #nextBytes: number[];
  readonly #placement: Placement;
  #freeBytes: number;
  #turn = 0;

  /** `memoryBytes` is the most that is used of all memories together, their own working memory included. */
  constructor(segments: Segments, sizes: SegmentSizes, memoryBytes: number, placement: Placement) {
    const count = segments.bytes.length;
    const firstBytes = alignUp(sizes.heapBytes + sizes.exchangeBytes, LINE_BYTES);
    this.segmentBytes = sizes.segmentBytes;
    this.arenas = [{ arenaId: 0, lengthBytes: count * sizes.segmentBytes }];
    this.#segments = segments;
    this.#nextBytes = segments.bytes.map(() => firstBytes);
    this.#freeBytes = memoryBytes - count * firstBytes;
    this.#placement = placement;
  }

  /** Zeroed memory; see {@link KernelMemory}. @throws KERNEL_MEMORY when it is longer than a memory, or all are full. */
  allocate(lengthBytes: number, alignmentBytes: number = LINE_BYTES): MemoryHandle {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) {
      throw failure(`expected a length in whole bytes, got ${lengthBytes}`, { lengthBytes });
    }
    // Segments begin on pages of 64 KiB, so that no larger alignment carries over to the arena.
    const isPower = alignmentBytes >= 1 && Number.isSafeInteger(Math.log2(alignmentBytes));
    if (!isPower || this.segmentBytes % alignmentBytes !== 0) {
      const expected = `an alignment that is a power of two and divides ${this.segmentBytes}`;
      throw failure(`expected ${expected}, got ${alignmentBytes}`, { alignmentBytes });
    }
    for (const index of this.#candidates(lengthBytes)) {
      const beginBytes = alignUp(this.#nextBytes[index]!, alignmentBytes);
      const usedBytes = beginBytes + lengthBytes - this.#nextBytes[index]!;
      if (beginBytes + lengthBytes > this.segmentBytes || usedBytes > this.#freeBytes) continue;
      this.#nextBytes[index] = beginBytes + lengthBytes;
      this.#freeBytes -= usedBytes;
      return { arenaId: 0, offsetBytes: index * this.segmentBytes + beginBytes };
    }
    throw this.#full(lengthBytes);
  }

  /** Host view of bytes of one memory. @throws KERNEL_MEMORY outside it. */
  bytes(handle: MemoryHandle, lengthBytes: number): Uint8Array {
    const local = this.#localOf(handle, lengthBytes, 1);
    return this.#viewOf(this.#segments.bytes, handle).subarray(local, local + lengthBytes);
  }

  /** Host view of f32 of one memory. @throws KERNEL_MEMORY outside it or off 4 bytes. */
  floats(handle: MemoryHandle, count: number): Float32Array {
    const first = this.#localOf(handle, count * 4, 4) / 4;
    return this.#viewOf(this.#segments.floats, handle).subarray(first, first + count);
  }

  /** Host view of u32 of one memory. @throws KERNEL_MEMORY outside it or off 4 bytes. */
  words(handle: MemoryHandle, count: number): Uint32Array {
    const first = this.#localOf(handle, count * 4, 4) / 4;
    return this.#viewOf(this.#segments.words, handle).subarray(first, first + count);
  }

  /** Memories in the order in which room is looked for. */
  #candidates(lengthBytes: number): number[] {
    const count = this.#nextBytes.length;
    const isLarge = lengthBytes > LARGE_SHARE * this.segmentBytes;
    const first = this.#placement === "scattered" ? this.#turn++ % count : isLarge ? 1 : 0;
    return this.#nextBytes.map((_, index) => (first + index) % count);
  }

  #viewOf<View>(views: readonly View[], { offsetBytes }: MemoryHandle): View {
    return views[this.#segments.indexOf(offsetBytes)]!;
  }

  #localOf({ arenaId, offsetBytes }: MemoryHandle, lengthBytes: number, alignmentBytes: number): number {
    const isInside = lengthBytes >= 0 && this.#segments.holds(offsetBytes, lengthBytes);
    if (arenaId === 0 && isInside && offsetBytes % alignmentBytes === 0)
      return this.#segments.localOf(offsetBytes);
    throw failure(
      `expected ${lengthBytes} bytes within one memory (each ${this.segmentBytes} bytes) of arena 0 on ${alignmentBytes} bytes, ` +
        `got offset ${offsetBytes} of arena ${arenaId}`,
      { arenaId, offsetBytes, lengthBytes },
    );
  }

  #full(lengthBytes: number): FlashlmError {
    const roomBytes = Math.max(...this.#nextBytes.map((nextBytes) => this.segmentBytes - nextBytes));
    const freeBytes = Math.max(0, this.#freeBytes);
    const details = { lengthBytes, freeBytes, roomBytes, segmentBytes: this.segmentBytes };
    if (lengthBytes > freeBytes) {
      const wanted = `${lengthBytes} bytes were asked for, ${freeBytes} are free`;
      return failure(`kernel memory is full: ${wanted}; make the set with more memoryBytes`, details);
    }
    return failure(
      `an allocation lies within one memory of ${this.segmentBytes} bytes: ${lengthBytes} bytes were asked for, ` +
        `the longest piece that is free has ${roomBytes}; allocate in parts, or use a target whose memory is one piece`,
      details,
    );
  }
}

function failure(message: string, details: Readonly<Record<string, number>>): FlashlmError {
  return new FlashlmError("KERNEL_MEMORY", message, details);
}

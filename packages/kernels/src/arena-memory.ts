import type { KernelMemory, MemoryArena, MemoryHandle } from "@flashlm/contracts";
import { alignUp, FlashlmError } from "@flashlm/contracts";

/** A cache line: the default alignment of allocations. */
const LINE_BYTES = 64;
/** Longest view of bytes that the engine makes. */
const VIEW_BYTES_MAX = 2 ** 32;

/** Copies within an arena. Offsets and length in bytes. */
export type CopyBytes = (toBytes: number, fromBytes: number, lengthBytes: number) => void;

/** Memory of a kernel set over one SharedArrayBuffer: arena 0, allocated upwards, never freed singly. */
export class ArenaMemory implements KernelMemory {
  readonly arenas: readonly MemoryArena[];
  readonly #buffer: SharedArrayBuffer;
  readonly #lengthBytes: number;
  readonly #skewBytes: number;
  #nextBytes: number;
  /** Copies bytes within the arena; see {@link KernelMemory}. */
  readonly copy?: (to: MemoryHandle, from: MemoryHandle, lengthBytes: number) => void;

  /**
   * @param heapBytes - first byte that may be allocated; what lies before belongs to the target.
   * @param skewBytes - where the arena starts within the buffer.
   * @param copyBytes - what copies within it, where views are not the only way.
   */
  constructor(
    buffer: SharedArrayBuffer,
    lengthBytes: number,
    heapBytes: number,
    { skewBytes = 0, copyBytes }: { readonly skewBytes?: number; readonly copyBytes?: CopyBytes } = {},
  ) {
    this.#buffer = buffer;
    this.#lengthBytes = lengthBytes;
    this.#skewBytes = skewBytes;
    this.#nextBytes = heapBytes;
    const bytes = new Uint8Array(buffer, skewBytes, Math.min(lengthBytes, VIEW_BYTES_MAX));
    this.arenas = [{ arenaId: 0, lengthBytes, bytes }];
    if (!copyBytes) return;
    this.copy = (to, from, length) => {
      this.#check(to, length, 1);
      this.#check(from, length, 1);
      copyBytes(to.offsetBytes, from.offsetBytes, length);
    };
  }

  /** Zeroed memory; see {@link KernelMemory}. @throws KERNEL_MEMORY when the arena is full. */
  allocate(lengthBytes: number, alignmentBytes: number = LINE_BYTES): MemoryHandle {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) {
      throw new FlashlmError("KERNEL_MEMORY", `expected a length in whole bytes, got ${lengthBytes}`, {
        lengthBytes,
      });
    }
    if (!Number.isSafeInteger(Math.log2(alignmentBytes)) || alignmentBytes < 1) {
      throw new FlashlmError(
        "KERNEL_MEMORY",
        `expected an alignment that is a power of two, got ${alignmentBytes}`,
        {
          alignmentBytes,
        },
      );
    }
    const offsetBytes = alignUp(this.#nextBytes, alignmentBytes);
    if (offsetBytes + lengthBytes > this.#lengthBytes) {
      const freeBytes = Math.max(0, this.#lengthBytes - offsetBytes);
      throw new FlashlmError(
        "KERNEL_MEMORY",
        `kernel memory is full: ${lengthBytes} bytes were asked for, ${freeBytes} are free; make the set with more memoryBytes`,
        { lengthBytes, freeBytes },
      );
    }
    this.#nextBytes = offsetBytes + lengthBytes;
    return { arenaId: 0, offsetBytes };
  }

  /** Host view of bytes, at most 4 GiB of them. @throws KERNEL_MEMORY outside the arena. */
  bytes(handle: MemoryHandle, lengthBytes: number): Uint8Array {
    this.#check(handle, lengthBytes, 1);
    return new Uint8Array(this.#buffer, this.#skewBytes + handle.offsetBytes, lengthBytes);
  }

  /** Host view of f32. @throws KERNEL_MEMORY outside the arena or off 4 bytes. */
  floats(handle: MemoryHandle, count: number): Float32Array {
    this.#check(handle, count * 4, 4);
    return new Float32Array(this.#buffer, this.#skewBytes + handle.offsetBytes, count);
  }

  /** Host view of u32. @throws KERNEL_MEMORY outside the arena or off 4 bytes. */
  words(handle: MemoryHandle, count: number): Uint32Array {
    this.#check(handle, count * 4, 4);
    return new Uint32Array(this.#buffer, this.#skewBytes + handle.offsetBytes, count);
  }

  #check(handle: MemoryHandle, lengthBytes: number, alignmentBytes: number): void {
    const { arenaId, offsetBytes } = handle;
    const inside = offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.#lengthBytes;
    if (arenaId === 0 && inside && offsetBytes % alignmentBytes === 0) return;
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `expected ${lengthBytes} bytes within arena 0 of ${this.#lengthBytes} bytes on ${alignmentBytes} bytes, ` +
        `got offset ${offsetBytes} of arena ${arenaId}`,
      { arenaId, offsetBytes, lengthBytes },
    );
  }
}

import { alignUp, FlashlmError, type MemoryArena, type MemoryHandle } from "@flashlm/contracts";
import { allocatePages } from "./page-memory.js";

/** Ids of a reader's own arenas start here, out of the way of ids that callers choose. */
const OWN_ARENA_BASE = 0x80000000;
/** Small targets share a slab, because each memory reserves address space of its own. */
const SLAB_BYTES = 1024 * 1024;
const SLAB_SHARE_BYTES = SLAB_BYTES / 4;
const TARGET_ALIGNMENT_BYTES = 4096;
const TARGET_BYTES_MAX = 65536 * 65536;

/** Memory that a reader hands out; freed with the reader. */
export class OwnTargets {
  private readonly attach: (arena: MemoryArena) => void;
  private nextArenaId = OWN_ARENA_BASE;
  private slab: MemoryArena | undefined;
  private slabUsedBytes = 0;

  constructor(attach: (arena: MemoryArena) => void) {
    this.attach = attach;
  }

  /** Page-aligned memory, zeroed. @throws FLASH_OUT_OF_RANGE when it is not to be had. */
  allocate(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    if (!Number.isInteger(lengthBytes) || lengthBytes <= 0 || lengthBytes > TARGET_BYTES_MAX) {
      throw allocationError(lengthBytes);
    }
    if (lengthBytes > SLAB_SHARE_BYTES) return part(this.open(lengthBytes), 0, lengthBytes);
    if (this.slab === undefined || this.slabUsedBytes + lengthBytes > SLAB_BYTES) {
      this.slab = this.open(SLAB_BYTES);
      this.slabUsedBytes = 0;
    }
    const offsetBytes = this.slabUsedBytes;
    this.slabUsedBytes = alignUp(offsetBytes + lengthBytes, TARGET_ALIGNMENT_BYTES);
    return part(this.slab, offsetBytes, lengthBytes);
  }

  private open(lengthBytes: number): MemoryArena {
    let bytes: Uint8Array;
    try {
      bytes = allocatePages(lengthBytes);
    } catch (error) {
      throw allocationError(lengthBytes, error);
    }
    const arena = { arenaId: this.nextArenaId++, lengthBytes: bytes.length, bytes };
    this.attach(arena);
    return arena;
  }
}

function part(
  arena: MemoryArena,
  offsetBytes: number,
  lengthBytes: number,
): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
  return {
    handle: { arenaId: arena.arenaId, offsetBytes },
    bytes: arena.bytes!.subarray(offsetBytes, offsetBytes + lengthBytes),
  };
}

function allocationError(lengthBytes: number, cause?: unknown): FlashlmError {
  return new FlashlmError(
    "FLASH_OUT_OF_RANGE",
    `a target of ${lengthBytes} bytes cannot be allocated; ask for 1 to ${TARGET_BYTES_MAX} bytes that the machine has`,
    { lengthBytes, lengthBytesMax: TARGET_BYTES_MAX },
    cause,
  );
}

/// <reference path="../wasm/web-assembly.d.ts" />
import { alignUp, FlashlmError } from "@flashlm/contracts";
import { MEMORY_BYTES_MAX, PAGE_BYTES } from "../limits.js";

/** Shared memory whose byte `skewBytes` lies at a multiple of a page. */
export interface AlignedMemory {
  readonly buffer: SharedArrayBuffer;
  readonly skewBytes: number;
}

/** A plain buffer of this size comes from the system a page at a time, this far behind the start of one. */
const HEADER_BYTES = 16;
const SYSTEM_PAGE_BYTES = 4096;

/**
 * Zeroed shared memory of at least `lengthBytes`. Up to 4 GiB it is that of a WebAssembly.Memory, which starts on a page,
 * so that files can be read into it without a detour; beyond, it starts within a plain buffer.
 * @throws KERNEL_MEMORY where the system refuses it.
 */
export function allocateAligned(lengthBytes: number): AlignedMemory {
  try {
    if (lengthBytes <= MEMORY_BYTES_MAX) {
      const pages = Math.ceil(lengthBytes / PAGE_BYTES);
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      return { buffer: memory.buffer, skewBytes: 0 };
    }
    const skewBytes = SYSTEM_PAGE_BYTES - HEADER_BYTES;
    return { buffer: new SharedArrayBuffer(alignUp(lengthBytes, PAGE_BYTES) + skewBytes), skewBytes };
  } catch (error) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `the system refused ${lengthBytes} bytes of kernel memory; ask for less`,
      { memoryBytes: lengthBytes },
      error,
    );
  }
}

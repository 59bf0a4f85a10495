import type { KernelSetOptions } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { HEAP_BASE, THREAD_COUNT_MAX } from "../assembly/layout.js";

/**
 * Bytes that a kernel set needs beyond what its caller allocates: scratch, tables and compiled programs.
 * Add it to `memoryBytes`. It is address space; pages are touched only when they are used.
 */
export const KERNEL_OVERHEAD_BYTES: number = HEAP_BASE;

/** Pages of a WASM memory. */
export const PAGE_BYTES = 65536;

/** Largest memory: 32-bit addresses, less one page so that the size itself fits 32 bits. */
export const MEMORY_BYTES_MAX: number = 2 ** 32 - PAGE_BYTES;

/** @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED for options that no set can be made with. */
export function checkOptions(options: KernelSetOptions): void {
  const { memoryBytes, threadCount } = options;
  if (
    !Number.isSafeInteger(memoryBytes) ||
    memoryBytes < KERNEL_OVERHEAD_BYTES ||
    memoryBytes > MEMORY_BYTES_MAX
  ) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `expected memoryBytes from ${KERNEL_OVERHEAD_BYTES} (KERNEL_OVERHEAD_BYTES) to ${MEMORY_BYTES_MAX}, got ${memoryBytes}; ` +
        "a larger model needs a smaller memory budget, so that more of it is streamed",
      { memoryBytes },
    );
  }
  if (!Number.isSafeInteger(threadCount) || threadCount < 1 || threadCount > THREAD_COUNT_MAX) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected a threadCount from 1 to ${THREAD_COUNT_MAX}, got ${threadCount}; more threads do not help, DRAM is the limit`,
      { threadCount },
    );
  }
}

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

/** Largest memory of the native kernels: what addresses in units of 16 bytes reach. */
const NATIVE_MEMORY_BYTES_MAX: number = 2 ** 36;
/** Far beyond what memory feeds; more is a mistake. */
const NATIVE_THREAD_COUNT_MAX = 64;

function check(options: KernelSetOptions, memoryBytesMax: number, threadCountMax: number): void {
  const { memoryBytes, threadCount } = options;
  if (
    !Number.isSafeInteger(memoryBytes) ||
    memoryBytes < KERNEL_OVERHEAD_BYTES ||
    memoryBytes > memoryBytesMax
  ) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `expected memoryBytes from ${KERNEL_OVERHEAD_BYTES} (KERNEL_OVERHEAD_BYTES) to ${memoryBytesMax}, got ${memoryBytes}; ` +
        "a larger model needs a smaller memory budget, so that more of it is streamed",
      { memoryBytes },
    );
  }
  if (!Number.isSafeInteger(threadCount) || threadCount < 1 || threadCount > threadCountMax) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected a threadCount from 1 to ${threadCountMax}, got ${threadCount}; more threads do not help, DRAM is the limit`,
      { threadCount },
    );
  }
}

/** Options of a set in 32-bit memory. @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED. */
export function checkOptions(options: KernelSetOptions): void {
  check(options, MEMORY_BYTES_MAX, THREAD_COUNT_MAX);
}

/** Options of a native set. @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED. */
export function checkNativeOptions(options: KernelSetOptions): void {
  check(options, NATIVE_MEMORY_BYTES_MAX, NATIVE_THREAD_COUNT_MAX);
}

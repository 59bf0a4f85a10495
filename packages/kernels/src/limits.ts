import type { KernelSetOptions } from "@flashlm/contracts";
import { alignUp, FlashlmError } from "@flashlm/contracts";
import {
  COLUMN_COUNT_MAX,
  COLUMN_COUNT_USUAL,
  DOTS_BYTES,
  SCORES_TILE,
  SCRATCH_BASE,
  THREAD_COUNT_MAX,
  TOKEN_TILE,
} from "../assembly/layout.js";

/** What the working memory of a kernel set depends on. */
export interface KernelOverheadOptions extends Pick<KernelSetOptions, "threadCount" | "columnCountMax"> {
  /** Size of the whole set: beyond 4 GiB, WASM needs working memory in each of several memories. One memory unless given. */
  readonly memoryBytes?: number;
  /** Bytes of one of those memories; for tests. Just below 4 GiB unless given. */
  readonly segmentBytes?: number;
}

/** Where a WASM set keeps what is not its caller's. Bytes. */
export interface ScratchLayout {
  /** First byte of thread 0's scratch. */
  readonly startBytes: number;
  /** Scratch of one thread. */
  readonly threadBytes: number;
  /** Offset of rounded tokens within a thread's scratch. */
  readonly tokensBytes: number;
  /** First byte that callers may allocate. */
  readonly heapBytes: number;
}

/** Pages of a WASM memory. */
export const PAGE_BYTES = 65536;

/** Largest memory: 32-bit addresses, less one page so that the size itself fits 32 bits. */
export const MEMORY_BYTES_MAX: number = 2 ** 32 - PAGE_BYTES;

/** Most scratch of a memory for operands that lie in others: the activations of 64 tokens and their source, in a 7B model. */
const EXCHANGE_BYTES_MAX = 4 * 2 ** 20;
/** An arena of several memories has this share of each filled at most, so that allocations up to a quarter of one find room. */
const SEGMENT_SHARE = 0.75;

const lines = (lengthBytes: number): number => alignUp(lengthBytes, 64);

/** Scratch of `threadCount` threads for rows of at most `columnCountMax` weights: as the assembly uses it. */
export function scratchLayout(options: KernelOverheadOptions): ScratchLayout {
  const { threadCount, columnCountMax = COLUMN_COUNT_USUAL } = options;
  // Four rows of f32, each a line longer than it needs so that they do not compete for cache sets; or the scores of a tile.
  const rowsBytes = Math.max(4 * (lines(columnCountMax * 4) + 64), lines(SCORES_TILE * 4 + 64));
  // Numbers of a tile's tokens, each a line longer; then scales and sums, 32 bytes per block of 32 columns.
  const tileBytes = lines(TOKEN_TILE * (columnCountMax * 2 + 64) + columnCountMax);
  const tokensBytes = DOTS_BYTES + rowsBytes;
  const threadBytes = tokensBytes + tileBytes;
  const heapBytes = SCRATCH_BASE + threadCount * threadBytes;
  return { startBytes: SCRATCH_BASE, threadBytes, tokensBytes, heapBytes };
}

/** Memories of `segmentBytes` that a set of `memoryBytes` has: one, or one for what is small and enough for all of it beside. */
export function segmentCount(memoryBytes: number, segmentBytes: number): number {
  return memoryBytes <= segmentBytes ? 1 : 1 + Math.ceil(memoryBytes / (SEGMENT_SHARE * segmentBytes));
}

/** Scratch in each of several memories for operands that lie in others. */
export function exchangeBytes(segmentBytes: number): number {
  return Math.min(EXCHANGE_BYTES_MAX, Math.floor(segmentBytes / 512) * 64);
}

/**
 * Bytes that a kernel set needs beyond what its caller allocates: scratch of the threads, tables and the running program.
 * Add it to `memoryBytes`. It is address space; pages are touched only when they are used.
 */
export function kernelOverheadBytes(options: KernelOverheadOptions): number {
  const { heapBytes } = scratchLayout(options);
  const { memoryBytes = 0, segmentBytes = MEMORY_BYTES_MAX } = options;
  const count = segmentCount(memoryBytes, segmentBytes);
  return count === 1 ? heapBytes : count * lines(heapBytes + exchangeBytes(segmentBytes));
}

/** Size of a set in which its caller allocates `allocatedBytes`: these and the {@link kernelOverheadBytes} of a set of that size. */
export function kernelMemoryBytes(
  allocatedBytes: number,
  options: Omit<KernelOverheadOptions, "memoryBytes">,
): number {
  let memoryBytes = allocatedBytes + kernelOverheadBytes(options);
  for (;;) {
    const wantedBytes = allocatedBytes + kernelOverheadBytes({ ...options, memoryBytes });
    if (wantedBytes <= memoryBytes) return memoryBytes;
    memoryBytes = wantedBytes;
  }
}

/** What {@link kernelOverheadBytes} says for the most threads of WASM: enough for any set of it up to 4 GiB that names no longer rows. */
export const KERNEL_OVERHEAD_BYTES: number = kernelOverheadBytes({ threadCount: THREAD_COUNT_MAX });

/** Largest arena: what addresses in units of 16 bytes reach. */
const ARENA_BYTES_MAX: number = 2 ** 36;
/** Far beyond what memory feeds; more is a mistake. */
const NATIVE_THREAD_COUNT_MAX = 64;

function check(options: KernelSetOptions, memoryBytesMax: number, threadCountMax: number): void {
  const { memoryBytes, threadCount, columnCountMax = COLUMN_COUNT_USUAL } = options;
  if (!Number.isSafeInteger(threadCount) || threadCount < 1 || threadCount > threadCountMax) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected a threadCount from 1 to ${threadCountMax}, got ${threadCount}; more threads do not help, DRAM is the limit`,
      { threadCount },
    );
  }
  if (!Number.isSafeInteger(columnCountMax) || columnCountMax < 1 || columnCountMax > COLUMN_COUNT_MAX) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected a columnCountMax from 1 to ${COLUMN_COUNT_MAX}, got ${columnCountMax}`,
      { columnCountMax },
    );
  }
  const least = kernelOverheadBytes({ threadCount: Math.min(threadCount, THREAD_COUNT_MAX), columnCountMax });
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < least || memoryBytes > memoryBytesMax) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `expected memoryBytes from ${least} (kernelOverheadBytes) to ${memoryBytesMax}, got ${memoryBytes}; ` +
        "a larger model needs a smaller memory budget, so that more of it is streamed",
      { memoryBytes },
    );
  }
}

/** Options of a set in 32-bit memory. @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED. */
export function checkOptions(options: KernelSetOptions): void {
  check(options, MEMORY_BYTES_MAX, THREAD_COUNT_MAX);
}

/** Most bytes of a set of memories of `segmentBytes`: its arena holds addresses for all of each. */
function spanningBytesMax(segmentBytes: number): number {
  return Math.floor((Math.floor(ARENA_BYTES_MAX / segmentBytes) - 1) * SEGMENT_SHARE * segmentBytes);
}

/** Options of a WASM set, which may span several memories. @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED. */
export function checkSpanningOptions(options: KernelSetOptions, segmentBytes: number): void {
  const isWhole = Number.isSafeInteger(segmentBytes / PAGE_BYTES);
  if (!isWhole || segmentBytes < PAGE_BYTES || segmentBytes > MEMORY_BYTES_MAX) {
    throw new FlashlmError(
      "KERNEL_NOT_SUPPORTED",
      `expected segmentBytes in whole pages of ${PAGE_BYTES} up to ${MEMORY_BYTES_MAX}, got ${segmentBytes}`,
      { segmentBytes },
    );
  }
  check(options, spanningBytesMax(segmentBytes), THREAD_COUNT_MAX);
  const workingBytes = scratchLayout(options).heapBytes + exchangeBytes(segmentBytes);
  if (segmentCount(options.memoryBytes, segmentBytes) > 1 && workingBytes > segmentBytes / 2) {
    throw new FlashlmError(
      "KERNEL_MEMORY",
      `expected memories of at least twice their working memory of ${workingBytes} bytes, got segmentBytes ${segmentBytes}`,
      { segmentBytes, workingBytes },
    );
  }
}

/** Options of a native set. @throws KERNEL_MEMORY, KERNEL_NOT_SUPPORTED. */
export function checkNativeOptions(options: KernelSetOptions): void {
  check(options, ARENA_BYTES_MAX, NATIVE_THREAD_COUNT_MAX);
}

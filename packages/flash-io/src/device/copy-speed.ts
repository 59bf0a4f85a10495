const REPEATS = 7;

/**
 * Bytes per second of copying one half of `memory` over the other, median of several copies. Shared memory is copied another way
 * than private memory, and reads land in shared memory, so that is what is measured.
 */
export function measureCopy(memory: Uint8Array): number {
  const half = memory.length / 2;
  // Untouched pages would be mapped during the first copy.
  memory.fill(1);
  const times: number[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const started = performance.now();
    if (repeat % 2 === 0) memory.copyWithin(half, 0, half);
    else memory.copyWithin(0, half, memory.length);
    times.push(performance.now() - started);
  }
  const medianMs = times.toSorted((a, b) => a - b)[REPEATS >> 1]!;
  return (half * 1000) / Math.max(medianMs, 1e-6);
}

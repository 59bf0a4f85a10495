/**
 * Weights of a case are copied until they are this much, so that no cache holds them between two runs: last levels of today's servers hold more
 * than 256 MiB.
 */
export const OUT_OF_CACHE_BYTES = 2 ** 30;

/** Copies of something of `bytes` that together are at least `cycledBytes`. */
export function copyCount(bytes, cycledBytes) {
  return Math.max(1, Math.ceil(cycledBytes / bytes));
}

/** Runs the programs in turn, one a call. */
export function rotating(set, programs) {
  let turn = 0;
  return () => set.run(programs[turn++ % programs.length]);
}

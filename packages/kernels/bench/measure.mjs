/** Middle value. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/**
 * Runs all cases in turn, `rounds` times, so that whatever else the machine does meets them alike. `entries` are `{ case, run }`;
 * each round runs a case for about `roundMs`. Returns `{ name, bytes, flops, medianMs, roundMs, gigabytesPerSecond, gigaflops }` in order, `roundMs` being
 * the time of each round.
 */
export async function measureInterleaved(entries, { rounds = 9, roundMs = 60 } = {}) {
  const times = entries.map(() => []);
  for (const { run } of entries) await run();
  for (let round = 0; round < rounds; round++) {
    for (const [i, { run }] of entries.entries()) {
      const start = performance.now();
      let count = 0;
      let elapsedMs = 0;
      do {
        await run();
        count++;
        elapsedMs = performance.now() - start;
      } while (elapsedMs < roundMs);
      times[i].push(elapsedMs / count);
    }
  }
  return entries.map((entry, i) => {
    const medianMs = median(times[i]);
    return {
      name: entry.case.name,
      bytes: entry.case.bytes,
      flops: entry.case.flops,
      medianMs,
      roundMs: times[i],
      gigabytesPerSecond: entry.case.bytes / medianMs / 1e6,
      gigaflops: entry.case.flops / medianMs / 1e6,
    };
  });
}

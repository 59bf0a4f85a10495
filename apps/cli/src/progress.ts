/** Shows what takes longer than a moment, on stderr: one line rewritten on a terminal, a line every few seconds elsewhere. */
export interface Progress {
  /** @param done - from 0 to 1. */
  update(label: string, done: number): void;
  end(): void;
}

/** Silent for the first second, so that quick work prints nothing. */
export function createProgress(enabled = true): Progress {
  const start = performance.now();
  const terminal = process.stderr.isTTY === true;
  let shownAt = start;
  let shown = false;
  return {
    update(label, done) {
      const now = performance.now();
      if (!enabled || now - start < 1000 || now - shownAt < (terminal ? 200 : 5000)) return;
      shownAt = now;
      shown = true;
      const leftSeconds = done > 0 ? ((now - start) / 1000 / done) * (1 - done) : 0;
      const line = `${label} ${(100 * done).toFixed(0)}%, about ${leftSeconds.toFixed(0)} s left`;
      process.stderr.write(terminal ? `\r\x1b[K${line}` : `${line}\n`);
    },
    end() {
      if (shown && terminal) process.stderr.write("\r\x1b[K");
    },
  };
}

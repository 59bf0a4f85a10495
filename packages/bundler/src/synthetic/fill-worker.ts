import { closeSync, constants, openSync, writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import type { PlannedFile } from "./file-plan.js";
import { PIECE_BYTES } from "./fill-threads.js";
import { RangeFiller } from "./range-filler.js";

/** What a filling thread is told; plain data. */
export interface FillJob {
  readonly paths: readonly string[];
  readonly files: readonly PlannedFile[];
  /** i32: the next piece to take, the MiB done, not zero to stop, 1 while a thread writes. */
  readonly control: Int32Array;
}

const SECTOR_BYTES = 4096;
/** Index of the word that says so. */
const WRITING = 3;

/** Opened past the page cache where the file system can: 13 GB of it would push out everything else. */
function openForFilling(path: string, buffered: boolean): number {
  const direct = buffered ? 0 : (constants.O_DIRECT ?? 0);
  try {
    return openSync(path, constants.O_WRONLY | direct);
  } catch (error) {
    if (direct === 0 || (error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
    return openSync(path, constants.O_WRONLY);
  }
}

function writeWhole(file: number, bytes: Uint8Array, offsetBytes: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(file, bytes, done, bytes.length - done, offsetBytes + done);
}

/** One thread writes at a time, while the others fill: files grow fastest by one write after the other (`npm run prove -- paper.synth`). */
function writeAlone(control: Int32Array, write: () => void): void {
  while (Atomics.compareExchange(control, WRITING, 0, 1) !== 0) Atomics.wait(control, WRITING, 1);
  try {
    write();
  } finally {
    Atomics.store(control, WRITING, 0);
    Atomics.notify(control, WRITING, 1);
  }
}

/** Fills pieces until none is left. Direct writes are of whole sectors, so that the last piece of a file is cut afterwards. */
function fillPieces({ paths, files, control }: FillJob): void {
  const filler = new RangeFiller();
  // Pages of a WebAssembly memory are aligned as direct writes want them.
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: PIECE_BYTES / 65_536 }).buffer);
  const handles = paths.map((path) => openForFilling(path, false));
  const pieceCounts = files.map((file) => Math.ceil(file.sizeBytes / PIECE_BYTES));
  try {
    for (;;) {
      let piece = Atomics.add(control, 0, 1);
      let fileIndex = 0;
      while (fileIndex < files.length && piece >= pieceCounts[fileIndex]!) piece -= pieceCounts[fileIndex++]!;
      if (fileIndex === files.length || Atomics.load(control, 2) !== 0) return;
      const file = files[fileIndex]!;
      const offsetBytes = piece * PIECE_BYTES;
      const lengthBytes = Math.min(PIECE_BYTES, file.sizeBytes - offsetBytes);
      const bytes = memory.subarray(0, Math.ceil(lengthBytes / SECTOR_BYTES) * SECTOR_BYTES);
      filler.fill(file, offsetBytes, bytes);
      try {
        writeAlone(control, () => writeWhole(handles[fileIndex]!, bytes, offsetBytes));
      } catch (error) {
        // Some file systems refuse only the write.
        if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
        closeSync(handles[fileIndex]!);
        handles[fileIndex] = openForFilling(paths[fileIndex]!, true);
        writeWhole(handles[fileIndex]!, bytes, offsetBytes);
      }
      Atomics.add(control, 1, Math.ceil(lengthBytes / 2 ** 20));
    }
  } finally {
    for (const handle of handles) closeSync(handle);
  }
}

try {
  fillPieces(workerData as FillJob);
  parentPort?.postMessage(null);
} catch (error) {
  const { message, code } = error as NodeJS.ErrnoException;
  parentPort?.postMessage({ message, code: code ?? null });
}

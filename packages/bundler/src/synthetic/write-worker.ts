import { closeSync, constants, openSync, writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { alignUp } from "@flashlm/contracts";
import { type FillJob, reportEnd } from "./fill-job.js";
import { PieceSlots } from "./piece-slots.js";

const SECTOR_BYTES = 4096;

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

/** Writes pieces as they are filled. Direct writes are of whole sectors, so that the last piece of a file is cut afterwards. */
function writePieces({ paths, order, pieces }: FillJob): void {
  const slots = new PieceSlots(pieces);
  const handles = paths.map((path) => openForFilling(path, false));
  try {
    while (slots.takeWrite() < order.length) {
      const filled = slots.claimFilled();
      if (filled === null) return;
      const { fileIndex, offsetBytes, lengthBytes } = order[filled.piece]!;
      const bytes = filled.bytes.subarray(0, alignUp(lengthBytes, SECTOR_BYTES));
      try {
        writeWhole(handles[fileIndex]!, bytes, offsetBytes);
      } catch (error) {
        // Some file systems refuse only the write.
        if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
        closeSync(handles[fileIndex]!);
        handles[fileIndex] = openForFilling(paths[fileIndex]!, true);
        writeWhole(handles[fileIndex]!, bytes, offsetBytes);
      }
      slots.markWritten(filled.slot, lengthBytes);
    }
  } finally {
    for (const handle of handles) closeSync(handle);
  }
}

reportEnd(() => writePieces(workerData as FillJob));

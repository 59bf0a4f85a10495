import type { FlashReader, MemoryHandle, PendingReads, ReadBatch } from "@flashlm/contracts";

/** Reads are cut to this, so that several are in flight at once; larger gains nothing on NVMe (bench random-read). */
export const READ_BYTES_MAX: number = 512 * 1024;

/** Starts reading one extent into consecutive memory, cut into pieces. The batch is scratch of the caller. */
export function submitExtent(
  reader: FlashReader,
  batch: ReadBatch,
  extent: { readonly fileIndex: number; readonly offsetBytes: number; readonly lengthBytes: number },
  target: MemoryHandle,
): PendingReads {
  const fileSizeBytes = reader.files[extent.fileIndex]?.sizeBytes ?? 0;
  const { alignmentBytes } = reader.capabilities;
  // Rounding the end up keeps the last piece aligned; callers' targets are padded to whole pages.
  const roundedEnd = Math.ceil((extent.offsetBytes + extent.lengthBytes) / alignmentBytes) * alignmentBytes;
  const endBytes = Math.min(roundedEnd, fileSizeBytes);
  batch.clear();
  for (let done = 0; extent.offsetBytes + done < endBytes; done += READ_BYTES_MAX) {
    const lengthBytes = Math.min(READ_BYTES_MAX, endBytes - extent.offsetBytes - done);
    batch.push(extent.fileIndex, extent.offsetBytes + done, lengthBytes, {
      arenaId: target.arenaId,
      offsetBytes: target.offsetBytes + done,
    });
  }
  return reader.submit(batch);
}

/** Gives reads up and waits until their targets are free again; what became of them no longer matters. */
export function abandon(pending: PendingReads): void {
  pending.cancel();
  pending.settled().catch(() => undefined);
  try {
    pending.waitAll();
  } catch {
    // A read that nobody needs any more may fail.
  }
}

/** Reads needed for an extent, to size a batch. */
export function pieceCount(lengthBytes: number): number {
  return Math.ceil(lengthBytes / READ_BYTES_MAX) + 1;
}

import { type FlashFile, FlashlmError, type ReadBatch } from "@flashlm/contracts";

/** Largest single read: a longer one would sit in the device queue in front of everything else. */
export const READ_BYTES_MAX: number = 64 * 1024 * 1024;

/** What a reader knows about a target arena. */
export interface KnownArena {
  readonly arenaIndex: number;
  readonly lengthBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Checks every read of a batch before any is started, so that a refused batch has no effect.
 * @throws FLASH_OUT_OF_RANGE naming the read.
 */
export function checkBatch(
  batch: ReadBatch,
  files: readonly FlashFile[],
  arenas: ReadonlyMap<number, KnownArena>,
): void {
  if (!(batch.count >= 0 && batch.count <= batch.capacity)) {
    throw new FlashlmError(
      "FLASH_OUT_OF_RANGE",
      `a batch of capacity ${batch.capacity} says that it holds ${batch.count} reads; push at most its capacity`,
      { count: batch.count, capacity: batch.capacity },
    );
  }
  let arenaId = -1;
  let arena: KnownArena | undefined;
  for (let index = 0; index < batch.count; index++) {
    if (batch.targetArenaId[index] !== arenaId) {
      arenaId = batch.targetArenaId[index]!;
      arena = arenas.get(arenaId);
    }
    const file = files[batch.fileIndex[index]!];
    const offsetBytes = batch.offsetBytes[index]!;
    const lengthBytes = batch.lengthBytes[index]!;
    const targetBytes = batch.targetOffsetBytes[index]!;
    const fits =
      file !== undefined &&
      arena !== undefined &&
      Number.isInteger(offsetBytes) &&
      Number.isInteger(lengthBytes) &&
      Number.isInteger(targetBytes) &&
      offsetBytes >= 0 &&
      lengthBytes >= 0 &&
      targetBytes >= 0 &&
      lengthBytes <= READ_BYTES_MAX &&
      offsetBytes + lengthBytes <= file.sizeBytes &&
      targetBytes + lengthBytes <= arena.lengthBytes;
    if (!fits) throw refusal(batch, index, file, arena);
  }
}

function refusal(
  batch: ReadBatch,
  index: number,
  file: FlashFile | undefined,
  arena: KnownArena | undefined,
): FlashlmError {
  const fileIndex = batch.fileIndex[index]!;
  const offsetBytes = batch.offsetBytes[index]!;
  const lengthBytes = batch.lengthBytes[index]!;
  const arenaId = batch.targetArenaId[index]!;
  const targetOffsetBytes = batch.targetOffsetBytes[index]!;
  let reason: string;
  if (file === undefined) reason = `there is no file ${fileIndex}; use an index of reader.files`;
  else if (arena === undefined) reason = `arena ${arenaId} is not known; attach it first`;
  else if (lengthBytes > READ_BYTES_MAX) reason = `one read may take ${READ_BYTES_MAX} bytes; split it`;
  else if (!(offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= file.sizeBytes)) {
    reason = `the extent must lie within the ${file.sizeBytes} bytes of ${file.path}`;
  } else
    reason = `the target must be whole numbers within the ${arena.lengthBytes} bytes of arena ${arenaId}`;
  return new FlashlmError(
    "FLASH_OUT_OF_RANGE",
    `read ${index} of the batch (${lengthBytes} bytes at ${offsetBytes} of file ${fileIndex} to ${targetOffsetBytes} of arena ${arenaId}) was refused: ${reason}`,
    { readIndex: index, fileIndex, path: file?.path, offsetBytes, lengthBytes, arenaId, targetOffsetBytes },
  );
}

/** The error of every call after `close`. */
export function closedError(operation: string): FlashlmError {
  return new FlashlmError(
    "FLASH_CLOSED",
    `${operation} was called on a closed reader; open a new one with the same paths`,
    { operation },
  );
}

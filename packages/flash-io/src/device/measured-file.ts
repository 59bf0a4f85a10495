import { randomBytes } from "node:crypto";
import { readdirSync, rmSync, type StatsFs, statSync } from "node:fs";
import { type FileHandle, open, statfs } from "node:fs/promises";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";

/** A smaller file would fit a disk's own cache and says nothing of the disk. */
export const FILE_BYTES_MIN: number = 16 * 1024 * 1024;
/** What has to stay free on the disk beside our file. */
const RESERVE_BYTES = 512 * 1024 * 1024;
/** A file in memory (tmpfs) takes memory: no more than this of it. */
const MEMORY_FILE_BYTES_MAX = 64 * 1024 * 1024;
const TMPFS_TYPE = 0x01021994;
const WRITE_BYTES = 4 * 1024 * 1024;
/** Written data goes to the disk this often, so that the time limit counts writing and not the page cache. */
const SYNC_BYTES = 64 * 1024 * 1024;
const NAME = /^\.flashlm-device-(\d+)-[0-9a-f]+\.tmp$/;
/** Leftovers of a killed process are removed once they are this old: a process id says nothing across containers. */
const LEFTOVER_AGE_MS = 10 * 60_000;

/** What is read during a measurement. */
export interface MeasuredFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly isTemporary: boolean;
  /** Removes a temporary file; early where the system lets open files be removed, so that no crash leaves it behind. Idempotent. */
  release(): void;
}

/** What {@link prepareFile} is asked for. */
export interface FileRequest {
  /** Size of a temporary file; null for the largest sensible one. */
  readonly fileBytes: number | null;
  /** Writing stops after this, with the file as long as it is then. */
  readonly writeMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (doneShare: number) => void;
}

const FILE_BYTES_DEFAULT = 1024 * 1024 * 1024;

/**
 * The file at `path`, or a temporary one where `path` is a folder: random bytes, on the disk when this resolves.
 * @throws FLASH_OPEN, FLASH_MEASURE (a file that is too small), FLASH_DISK_FULL, FLASH_IO, FLASH_ABORTED.
 */
export async function prepareFile(path: string, request: FileRequest): Promise<MeasuredFile> {
  const stat = statSync(path);
  if (stat.isDirectory()) return writeTemporary(path, request);
  if (!stat.isFile() || stat.size < FILE_BYTES_MIN) {
    throw new FlashlmError(
      "FLASH_MEASURE",
      `Expected a folder or a regular file of at least ${FILE_BYTES_MIN} bytes but ${path} has ${stat.size}. Name the folder that it is in.`,
      { path, sizeBytes: stat.size, sizeBytesMin: FILE_BYTES_MIN },
    );
  }
  return { path, sizeBytes: stat.size, isTemporary: false, release: () => {} };
}

async function writeTemporary(folder: string, request: FileRequest): Promise<MeasuredFile> {
  removeLeftovers(folder);
  const wantedBytes = chooseBytes(await statfs(folder), request.fileBytes, folder);
  const path = join(folder, `.flashlm-device-${process.pid}-${randomBytes(6).toString("hex")}.tmp`);
  const remove = (): void => rmSync(path, { force: true });
  const release = (): void => {
    try {
      remove();
      process.off("exit", remove);
    } catch {
      // Windows keeps files that are open; the next call or the process's end removes it.
    }
  };
  process.once("exit", remove);
  try {
    const sizeBytes = await fill(path, wantedBytes, request);
    return { path, sizeBytes, isTemporary: true, release };
  } catch (error) {
    release();
    throw FlashlmError.isInstance(error) ? error : writeError(error, folder, wantedBytes);
  }
}

/** Size of the temporary file that the disk has room for. @throws FLASH_DISK_FULL. */
export function chooseBytes(
  disk: Pick<StatsFs, "type" | "bavail" | "bsize">,
  fileBytes: number | null,
  folder: string,
): number {
  const freeBytes = disk.bavail * disk.bsize;
  const limitBytes = disk.type === TMPFS_TYPE ? MEMORY_FILE_BYTES_MAX : Number.POSITIVE_INFINITY;
  const roomBytes = Math.floor((freeBytes - RESERVE_BYTES) / WRITE_BYTES) * WRITE_BYTES;
  const wantedBytes =
    fileBytes ?? Math.max(FILE_BYTES_MIN, Math.min(FILE_BYTES_DEFAULT, limitBytes, roomBytes));
  if (wantedBytes <= roomBytes) return wantedBytes;
  throw new FlashlmError(
    "FLASH_DISK_FULL",
    `Expected ${wantedBytes + RESERVE_BYTES} free bytes in ${folder} for a measurement (a file of ${wantedBytes}, and ${RESERVE_BYTES} that stay free) but there are ${freeBytes}. ` +
      "Free some, or name a large file on that disk: it is only read.",
    { folder, freeBytes, fileBytes: wantedBytes, reserveBytes: RESERVE_BYTES },
  );
}

async function fill(path: string, wantedBytes: number, request: FileRequest): Promise<number> {
  const handle = await open(path, "wx", 0o600);
  try {
    return await writeUntil(handle, wantedBytes, request);
  } finally {
    await handle.close();
  }
}

async function writeUntil(handle: FileHandle, wantedBytes: number, request: FileRequest): Promise<number> {
  const started = performance.now();
  const words = new Uint32Array(WRITE_BYTES / 4);
  let state = 1;
  let writtenBytes = 0;
  while (writtenBytes < wantedBytes) {
    if (request.signal?.aborted) throw abortedError();
    for (let index = 0; index < words.length; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      words[index] = state;
    }
    const lengthBytes = Math.min(WRITE_BYTES, wantedBytes - writtenBytes);
    const { bytesWritten } = await handle.write(new Uint8Array(words.buffer, 0, lengthBytes));
    writtenBytes += bytesWritten;
    request.onProgress(writtenBytes / wantedBytes);
    if (writtenBytes % SYNC_BYTES === 0) await handle.datasync();
    if (performance.now() - started > request.writeMs && writtenBytes >= FILE_BYTES_MIN) break;
  }
  // Reads past the page cache see what is on the disk, and blocks that were never written read faster.
  await handle.sync();
  return writtenBytes;
}

/** Files of measurements whose process was killed before it could remove them. */
function removeLeftovers(folder: string): void {
  try {
    for (const name of readdirSync(folder)) {
      const pid = Number(NAME.exec(name)?.[1]);
      const path = join(folder, name);
      if (Number.isNaN(pid) || isAlive(pid) || Date.now() - statSync(path).mtimeMs < LEFTOVER_AGE_MS)
        continue;
      rmSync(path, { force: true });
    }
  } catch {
    // A folder that cannot be listed can still be measured.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

function writeError(error: unknown, folder: string, wantedBytes: number): FlashlmError {
  const { message, code } = error as NodeJS.ErrnoException;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  return new FlashlmError(
    isFull ? "FLASH_DISK_FULL" : "FLASH_IO",
    `Expected to write a file of ${wantedBytes} bytes in ${folder} but ${message}. Name another folder, or a large file on the device: it is only read.`,
    { folder, fileBytes: wantedBytes, errorCode: code },
    error,
  );
}

/** The error of a measurement that its caller stopped. */
export function abortedError(): FlashlmError {
  return new FlashlmError("FLASH_ABORTED", "the measurement was stopped by its caller");
}

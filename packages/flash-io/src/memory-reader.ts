import { open } from "node:fs/promises";
import {
  type FlashFile,
  FlashlmError,
  type FlashReader,
  type MemoryArena,
  type MemoryHandle,
  type PendingReads,
  type ReadBatch,
  type ReaderCapabilities,
  type ReaderStats,
} from "@flashlm/contracts";
import { checkBatch, closedError, type KnownArena, READ_BYTES_MAX } from "./batch-checks.js";
import { OwnTargets } from "./own-targets.js";
import { readError } from "./read-errors.js";
import { OUTCOME_SHORT } from "./shared-rings.js";

/** A file that is already in memory. `bytes` is borrowed until the reader closes. */
export interface MemoryFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** The operating system reads at most 2 GiB at once. */
const LOAD_CHUNK_BYTES = 1024 * 1024 * 1024;

/**
 * A reader over whole files in memory: paths are loaded in full now, given bytes are used as they are. Reads are
 * copies that have ended when `submit` returns. For tests, and for machines with more memory than the model needs.
 * @throws FLASH_OPEN when a file cannot be read, FLASH_SHORT_READ when it shrinks while it is loaded.
 */
export async function createMemoryReader(sources: readonly (string | MemoryFile)[]): Promise<FlashReader> {
  const files: MemoryFile[] = [];
  for (const source of sources) {
    files.push(typeof source === "string" ? { path: source, bytes: await loadFile(source) } : source);
  }
  return new MemoryReader(files);
}

async function loadFile(path: string): Promise<Uint8Array> {
  try {
    await using handle = await open(path, "r");
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error("it is not a regular file");
    const bytes = new Uint8Array(stat.size);
    let loadedBytes = 0;
    while (loadedBytes < bytes.length) {
      const wantedBytes = Math.min(bytes.length - loadedBytes, LOAD_CHUNK_BYTES);
      const { bytesRead } = await handle.read(bytes, loadedBytes, wantedBytes, loadedBytes);
      if (bytesRead === 0) break;
      loadedBytes += bytesRead;
    }
    if (loadedBytes === bytes.length) return bytes;
    throw readError(OUTCOME_SHORT, {
      readIndex: 0,
      path,
      fileIndex: 0,
      offsetBytes: 0,
      lengthBytes: bytes.length,
      gotBytes: loadedBytes,
      errno: 0,
    });
  } catch (error) {
    if (FlashlmError.isInstance(error)) throw error;
    const { message, code, errno } = error as NodeJS.ErrnoException;
    throw new FlashlmError(
      "FLASH_OPEN",
      `expected a readable regular file at ${path}, but ${message}; check the path and its permissions`,
      { path, errorCode: code, errno },
      error,
    );
  }
}

class MemoryReader implements FlashReader {
  readonly contractVersion = 1;
  readonly capabilities: ReaderCapabilities = {
    backend: "memory",
    alignmentBytes: 1,
    directIo: false,
    inFlightMax: 1,
    readBytesMax: READ_BYTES_MAX,
    note: "whole files are held in memory",
  };
  readonly files: readonly FlashFile[];
  private contents: readonly Uint8Array[];
  private readonly arenas: Map<number, KnownArena> = new Map();
  private readonly targets: OwnTargets = new OwnTargets((arena) => this.attach(arena));
  private requestCount = 0;
  private readBytes = 0;
  private isClosed = false;

  constructor(files: readonly MemoryFile[]) {
    this.contents = files.map((file) => file.bytes);
    this.files = files.map(({ path, bytes }) => ({ path, sizeBytes: bytes.length }));
  }

  attach(arena: MemoryArena): void {
    if (this.isClosed) throw closedError("attach");
    const { arenaId, bytes } = arena;
    if (bytes === undefined) {
      throw new FlashlmError("FLASH_OUT_OF_RANGE", `arena ${arenaId} has no bytes that the host can see`, {
        arenaId,
      });
    }
    this.arenas.set(arenaId, { arenaIndex: 0, lengthBytes: bytes.length, bytes });
  }

  allocateTarget(lengthBytes: number): { readonly handle: MemoryHandle; readonly bytes: Uint8Array } {
    if (this.isClosed) throw closedError("allocateTarget");
    return this.targets.allocate(lengthBytes);
  }

  submit(batch: ReadBatch): PendingReads {
    if (this.isClosed) throw closedError("submit");
    checkBatch(batch, this.files, this.arenas);
    for (let index = 0; index < batch.count; index++) {
      const offsetBytes = batch.offsetBytes[index]!;
      const lengthBytes = batch.lengthBytes[index]!;
      const source = this.contents[batch.fileIndex[index]!]!;
      const target = this.arenas.get(batch.targetArenaId[index]!)!;
      target.bytes.set(
        source.subarray(offsetBytes, offsetBytes + lengthBytes),
        batch.targetOffsetBytes[index]!,
      );
      this.readBytes += lengthBytes;
    }
    this.requestCount += batch.count;
    return new LandedReads(batch.count);
  }

  stats(): ReaderStats {
    return { requestCount: this.requestCount, readBytes: this.readBytes };
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.contents = [];
    this.arenas.clear();
  }
}

/** Reads that ended well before anyone could ask. */
class LandedReads implements PendingReads {
  readonly count: number;
  private returnedCount = 0;

  constructor(count: number) {
    this.count = count;
  }

  landed(index: number): boolean {
    return index >= 0 && index < this.count;
  }

  waitNext(): number {
    return this.returnedCount < this.count ? this.returnedCount++ : -1;
  }

  waitAll(): void {}

  cancel(): void {}

  async settled(): Promise<void> {}
}

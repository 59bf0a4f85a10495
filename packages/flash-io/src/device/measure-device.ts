import {
  DEVICE_PROFILE_VERSION,
  type DeviceCell,
  type DeviceIdentity,
  type DeviceProfile,
  FlashlmError,
  type FlashReader,
} from "@flashlm/contracts";
import { allocatePages } from "../page-memory.js";
import { probeAlignment } from "./alignment-probe.js";
import { type CellResult, CellRunner } from "./cell-runner.js";
import { measureCopy } from "./copy-speed.js";
import { identifyDevice } from "./device-identity.js";
import { CHUNKS_BYTES, DEPTHS, interpolateCells, measuringOrder, skippedCell } from "./grid.js";
import { abortedError, type MeasuredFile, prepareFile } from "./measured-file.js";
import { openBestReader, type ReaderFactory } from "./reader-factory.js";

/** Steps of a measurement, in order. */
export type MeasurePhase = "file" | "sequential" | "memory" | "random";

/** How far a measurement is. `cell` is the one just measured. */
export interface MeasureProgress {
  readonly phase: MeasurePhase;
  /** 0 to 1, of the whole. */
  readonly doneShare: number;
  readonly cell?: DeviceCell;
}

/** Options of {@link measureDevice}. */
export interface MeasureOptions {
  /** Opens the file; called once per depth, with the depth as `inFlightMax`. Default: the package's best reader. */
  readonly openReader?: ReaderFactory;
  /** The whole takes about this long on an ordinary disk. Default 24 000; cells for which it does not suffice are interpolated. */
  readonly budgetMs?: number;
  /** Size of the temporary file. Default 1 GiB, or less where the disk has no room or is slow to write. */
  readonly fileBytes?: number;
  /** Chunk lengths, ascending, multiples of 512. Default 4 KiB to 4 MiB. */
  readonly chunkBytes?: readonly number[];
  /** Numbers of reads in flight, ascending. Default 1 to 128. */
  readonly depths?: readonly number[];
  /** Told after each piece of the work, on the calling thread. What it throws ends the measurement. */
  readonly onProgress?: (progress: MeasureProgress) => void;
  /** Stops the measurement, which then throws FLASH_ABORTED. Looked at between batches. */
  readonly signal?: AbortSignal;
}

const BUDGET_MS = 24_000;
/** Shares of the budget. What is left goes to the random reads. */
const WRITE_SHARE = 0.25;
const SEQUENTIAL_SHARE = 0.05;
/** Memory that `measureDevice` reads into. Most bytes in flight are half of this: more than any engine stages. */
export const DEVICE_ARENA_BYTES: number = 64 * 1024 * 1024;
const ARENA_ID = 1;
const CELL_LEAST_MS = 50;
const CELL_MOST_MS = 700;
const SEQUENTIAL_CHUNK_BYTES = 1024 * 1024;
const SEQUENTIAL_DEPTH = 8;

/**
 * Measures how fast a device is read: random reads by length and depth, sequential reads, the alignment that reads past the page
 * cache need, and copying in memory. `path` is a folder on the device (a temporary file is written there, and removed whatever
 * happens) or a file, which is only read. Blocks the calling thread for up to a few dozen milliseconds at a time.
 * @throws FLASH_OPEN, FLASH_MEASURE, FLASH_DISK_FULL, FLASH_IO, FLASH_ABORTED.
 */
export async function measureDevice(path: string, options: MeasureOptions = {}): Promise<DeviceProfile> {
  const device = identifyDevice(path);
  const measurement = new Measurement(options);
  const file = await prepareFile(path, measurement.fileRequest());
  try {
    return await measurement.run(device, file);
  } finally {
    await measurement.close();
    file.release();
  }
}

class Measurement {
  private readonly startedMs = performance.now();
  private readonly options: MeasureOptions;
  private readonly budgetMs: number;
  private readonly chunks: readonly number[];
  private readonly depths: readonly number[];
  private readonly readers: FlashReader[] = [];
  private readonly arena = {
    arenaId: ARENA_ID,
    lengthBytes: DEVICE_ARENA_BYTES,
    bytes: allocatePages(DEVICE_ARENA_BYTES),
  };
  private doneShare = 0;
  private randomState = 1;

  constructor(options: MeasureOptions) {
    this.options = options;
    this.budgetMs = options.budgetMs ?? BUDGET_MS;
    this.chunks = checkGrid("chunkBytes", options.chunkBytes ?? CHUNKS_BYTES, 512);
    this.depths = checkGrid("depths", options.depths ?? DEPTHS, 1);
  }

  fileRequest(): Parameters<typeof prepareFile>[1] {
    const { fileBytes, signal } = this.options;
    return {
      fileBytes: fileBytes ?? null,
      writeMs: WRITE_SHARE * this.budgetMs,
      signal,
      onProgress: (doneShare) => this.progress("file", WRITE_SHARE * doneShare),
    };
  }

  async run(device: DeviceIdentity, file: MeasuredFile): Promise<DeviceProfile> {
    const runners: CellRunner[] = [];
    for (const depth of this.depths) runners.push(await this.open(file.path, depth));
    const sequentialRunner = await this.open(file.path, SEQUENTIAL_DEPTH);
    const directAlignmentBytes = probeAlignment(file.path);
    // Everything is open: from here on no crash can leave the file behind where open files may be removed.
    if (file.isTemporary) file.release();
    const sequential = await this.sequential(sequentialRunner);
    this.progress("memory", WRITE_SHARE + SEQUENTIAL_SHARE);
    const copyBytesPerSecond = measureCopy(this.arena.bytes);
    const cells = await this.cells(runners);
    const { backend, directIo, alignmentBytes, note } = this.readers[0]!.capabilities;
    return {
      formatVersion: DEVICE_PROFILE_VERSION,
      measuredAt: new Date().toISOString(),
      elapsedMs: performance.now() - this.startedMs,
      device,
      backend,
      directIo,
      alignmentBytes,
      note,
      directAlignmentBytes,
      file: { sizeBytes: file.sizeBytes, isTemporary: file.isTemporary },
      chunkBytes: this.chunks,
      depths: this.depths,
      cells,
      sequential,
      copyBytesPerSecond,
    };
  }

  /** Closes every reader; idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.readers.splice(0).map((reader) => reader.close()));
  }

  private async open(path: string, depth: number): Promise<CellRunner> {
    if (this.options.signal?.aborted) throw abortedError();
    const openReader = this.options.openReader ?? openBestReader;
    const reader = await openReader([path], { inFlightMax: depth });
    this.readers.push(reader);
    return new CellRunner(reader, depth, this.arena, () => this.random(), this.options.signal);
  }

  private async sequential(runner: CellRunner): Promise<DeviceProfile["sequential"]> {
    const mostMs = SEQUENTIAL_SHARE * this.budgetMs;
    const time = { leastMs: mostMs / 2, mostMs };
    const { bytesPerSecond } = await runner.throughput(SEQUENTIAL_CHUNK_BYTES, "sequential", time);
    const depth = Math.min(SEQUENTIAL_DEPTH, this.readers.at(-1)!.capabilities.inFlightMax);
    this.progress("sequential", WRITE_SHARE + SEQUENTIAL_SHARE);
    return { chunkBytes: SEQUENTIAL_CHUNK_BYTES, depth, bytesPerSecond };
  }

  /** Measures places in their order until the budget is used up; interpolates what is left. */
  private async cells(runners: readonly CellRunner[]): Promise<DeviceCell[]> {
    const cells = this.chunks.flatMap((chunkBytes) =>
      this.depths.map((depth) => skippedCell(chunkBytes, depth)),
    );
    const runnerOf = (depth: number): CellRunner => runners[this.depths.indexOf(depth)]!;
    const places = measuringOrder(this.chunks, this.depths).filter((place) =>
      runnerOf(place.depth).fits(place.chunkBytes),
    );
    const firstShare = WRITE_SHARE + SEQUENTIAL_SHARE;
    const late = new Set<number>();
    for (const [done, place] of places.entries()) {
      const leftMs = this.budgetMs - (performance.now() - this.startedMs);
      // A slow disk or a busy machine still gives one figure; a profile without any would be of no use.
      if (leftMs <= 0 && done > 0) {
        late.add(place.index);
        continue;
      }
      const shareMs = Math.max(leftMs, 1) / (places.length - done);
      const cell = await this.cell(runnerOf(place.depth), place.chunkBytes, shareMs);
      cells[place.index] = cell;
      this.progress("random", firstShare + (1 - firstShare) * ((done + 1) / places.length), cell);
      if (this.options.signal?.aborted) throw abortedError();
    }
    return interpolateCells(cells, this.depths.length, late);
  }

  private async cell(runner: CellRunner, chunkBytes: number, shareMs: number): Promise<DeviceCell> {
    const mostMs = Math.min(Math.max(0.8 * shareMs, 1), CELL_MOST_MS);
    const time = { leastMs: Math.min(CELL_LEAST_MS, mostMs), mostMs };
    const result: CellResult = await runner.throughput(chunkBytes, "random", time);
    const readMs = (1000 * chunkBytes) / result.bytesPerSecond;
    const p99Ms = runner.slowReadMs(chunkBytes, readMs, 0.2 * shareMs);
    const latency = p99Ms === null ? null : { meanMs: runner.depth * readMs, p99Ms };
    return { chunkBytes, depth: runner.depth, origin: "measured", latency, ...result };
  }

  private progress(phase: MeasurePhase, doneShare: number, cell?: DeviceCell): void {
    this.doneShare = Math.max(this.doneShare, Math.min(1, doneShare));
    this.options.onProgress?.({ phase, doneShare: this.doneShare, ...(cell ? { cell } : {}) });
  }

  private random(): number {
    this.randomState = (this.randomState + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(this.randomState ^ (this.randomState >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  }
}

function checkGrid(name: string, values: readonly number[], multiple: number): readonly number[] {
  const isGood = values.every(
    (value, index) => value > 0 && value % multiple === 0 && (index === 0 || value > values[index - 1]!),
  );
  if (isGood && values.length > 0) return values;
  throw new FlashlmError(
    "FLASH_MEASURE",
    `Expected ${name} to be multiples of ${multiple}, ascending, but received ${values.join(", ") || "none"}.`,
    { [name]: values.join(",") },
  );
}

import { FlashlmError } from "./errors.js";
import type { ByteCount } from "./units.js";

/** Version of {@link DeviceProfile} that this package writes and reads. */
export const DEVICE_PROFILE_VERSION = 1;

/** Which device a file lies on. Texts are "" where the system does not say. */
export interface DeviceIdentity {
  /** "major:minor" of the file system; may change when the machine starts again, so compare `source` too. */
  readonly deviceId: string;
  readonly mountPath: string;
  /** What is mounted, "/dev/nvme0n1p2" for example. */
  readonly source: string;
  readonly fileSystem: string;
}

/** Where the figures of a cell are from; a skipped cell has none. */
export type DeviceCellOrigin = "measured" | "interpolated" | "skipped";

/** Random reads of one length with one number of them in flight. */
export interface DeviceCell {
  readonly chunkBytes: ByteCount;
  readonly depth: number;
  readonly origin: DeviceCellOrigin;
  readonly bytesPerSecond: number | null;
  /** Interquartile range of the speed of the cell's batches over their median; null unless measured. */
  readonly spread: number | null;
  /**
   * Time of a single read while the queue is full; null unless timed. The mean follows from the speed (depth = rate x time); `p99Ms` was seen by
   * the waiting thread, and is the slowest where fewer than 100 were timed.
   */
  readonly latency: { readonly meanMs: number; readonly p99Ms: number } | null;
  /** Reads that the speed was taken from. */
  readonly readCount: number;
}

/** How fast a device is through one reader: random reads by length and depth, sequential reads, and copying in memory. */
export interface DeviceProfile {
  readonly formatVersion: typeof DEVICE_PROFILE_VERSION;
  /** ISO 8601, UTC. */
  readonly measuredAt: string;
  readonly elapsedMs: number;
  readonly device: DeviceIdentity;
  /** As in the reader's capabilities. */
  readonly backend: string;
  readonly directIo: boolean;
  readonly alignmentBytes: ByteCount;
  readonly note: string;
  /** Smallest alignment of offset, length and memory at which a read past the page cache works; null where none does. */
  readonly directAlignmentBytes: ByteCount | null;
  /** What was read. A file of the caller's is only ever read. */
  readonly file: { readonly sizeBytes: ByteCount; readonly isTemporary: boolean };
  /** Ascending. */
  readonly chunkBytes: readonly ByteCount[];
  /** Ascending. */
  readonly depths: readonly number[];
  /** `[chunkBytes.length * depths.length]`, by chunk length, then by depth. */
  readonly cells: readonly DeviceCell[];
  readonly sequential: {
    readonly chunkBytes: ByteCount;
    readonly depth: number;
    readonly bytesPerSecond: number;
  };
  /** Copying within the shared memory that reads land in, one thread; bytes copied, not bytes moved both ways. */
  readonly copyBytesPerSecond: number;
}

/** More rows or columns than this is no table that we wrote. */
const GRID_MAX = 64;
const ORIGINS: readonly DeviceCellOrigin[] = ["measured", "interpolated", "skipped"];

type Fields = Readonly<Record<string, unknown>>;

/**
 * Checks a value (of `JSON.parse`, say) for being a profile of this version. Fields that it does not know are left out.
 * @throws FLASH_PROFILE_VERSION for another version, FLASH_PROFILE_FORMAT naming the first field that is wrong.
 */
export function parseDeviceProfile(value: unknown): DeviceProfile {
  const root = fields(value, "the profile");
  if (root.formatVersion !== DEVICE_PROFILE_VERSION) {
    throw new FlashlmError(
      "FLASH_PROFILE_VERSION",
      `Expected a device profile of version ${DEVICE_PROFILE_VERSION} but received ${String(root.formatVersion)}. Measure the device again.`,
      { expectedVersion: DEVICE_PROFILE_VERSION, version: String(root.formatVersion) },
    );
  }
  const chunkBytes = ascending(root.chunkBytes, "chunkBytes");
  const depths = ascending(root.depths, "depths");
  const device = fields(root.device, "device");
  const file = fields(root.file, "file");
  const sequential = fields(root.sequential, "sequential");
  const measuredAt = text(root.measuredAt, "measuredAt");
  if (Number.isNaN(Date.parse(measuredAt))) throw wrong("measuredAt", "a date in ISO 8601", measuredAt);
  return {
    formatVersion: DEVICE_PROFILE_VERSION,
    measuredAt,
    elapsedMs: amount(root.elapsedMs, "elapsedMs"),
    device: {
      deviceId: text(device.deviceId, "device.deviceId"),
      mountPath: text(device.mountPath, "device.mountPath"),
      source: text(device.source, "device.source"),
      fileSystem: text(device.fileSystem, "device.fileSystem"),
    },
    backend: text(root.backend, "backend"),
    directIo: flag(root.directIo, "directIo"),
    alignmentBytes: positive(root.alignmentBytes, "alignmentBytes"),
    note: text(root.note, "note"),
    directAlignmentBytes:
      root.directAlignmentBytes === null ? null : positive(root.directAlignmentBytes, "directAlignmentBytes"),
    file: {
      sizeBytes: positive(file.sizeBytes, "file.sizeBytes"),
      isTemporary: flag(file.isTemporary, "file.isTemporary"),
    },
    chunkBytes,
    depths,
    cells: cells(root.cells, chunkBytes, depths),
    sequential: {
      chunkBytes: positive(sequential.chunkBytes, "sequential.chunkBytes"),
      depth: positive(sequential.depth, "sequential.depth"),
      bytesPerSecond: positive(sequential.bytesPerSecond, "sequential.bytesPerSecond"),
    },
    copyBytesPerSecond: positive(root.copyBytesPerSecond, "copyBytesPerSecond"),
  };
}

function cells(value: unknown, chunkBytes: readonly number[], depths: readonly number[]): DeviceCell[] {
  const list = array(value, "cells");
  const count = chunkBytes.length * depths.length;
  if (list.length !== count) throw wrong("cells", `${count} cells`, `${list.length}`);
  return list.map((entry, index) =>
    cell(
      fields(entry, `cells[${index}]`),
      `cells[${index}]`,
      chunkBytes[Math.floor(index / depths.length)]!,
      depths[index % depths.length]!,
    ),
  );
}

function cell(entry: Fields, name: string, chunkBytes: number, depth: number): DeviceCell {
  if (entry.chunkBytes !== chunkBytes || entry.depth !== depth) {
    throw wrong(name, `chunkBytes ${chunkBytes}, depth ${depth}`, `${entry.chunkBytes}, ${entry.depth}`);
  }
  const origin = ORIGINS.find((known) => known === entry.origin);
  if (origin === undefined) throw wrong(`${name}.origin`, ORIGINS.join(" | "), String(entry.origin));
  const isMeasured = origin === "measured";
  const latency = entry.latency === null ? null : fields(entry.latency, `${name}.latency`);
  if (!isMeasured && (latency !== null || entry.spread !== null)) {
    throw wrong(`${name}.latency`, "null, and no spread, because it was not measured", "a value");
  }
  if (origin === "skipped" && entry.bytesPerSecond !== null) {
    throw wrong(`${name}.bytesPerSecond`, "null, because the cell was skipped", String(entry.bytesPerSecond));
  }
  return {
    chunkBytes,
    depth,
    origin,
    bytesPerSecond: origin === "skipped" ? null : positive(entry.bytesPerSecond, `${name}.bytesPerSecond`),
    spread: isMeasured ? amount(entry.spread, `${name}.spread`) : null,
    latency:
      latency === null
        ? null
        : {
            meanMs: amount(latency.meanMs, `${name}.latency.meanMs`),
            p99Ms: amount(latency.p99Ms, `${name}.latency.p99Ms`),
          },
    readCount: amount(entry.readCount, `${name}.readCount`),
  };
}

function wrong(field: string, expected: string, received: string): FlashlmError {
  return new FlashlmError(
    "FLASH_PROFILE_FORMAT",
    `Expected ${field} of a device profile to be ${expected} but received ${received}. Measure the device again.`,
    { field, expected, received },
  );
}

function fields(value: unknown, name: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw wrong(name, "an object", Array.isArray(value) ? "a list" : String(value));
}

function array(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw wrong(name, "a list", typeof value);
}

function text(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw wrong(name, "a text", typeof value);
}

function flag(value: unknown, name: string): boolean {
  if (typeof value === "boolean") return value;
  throw wrong(name, "true or false", String(value));
}

function amount(value: unknown, name: string): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw wrong(name, "a number of at least 0", String(value));
}

function positive(value: unknown, name: string): number {
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw wrong(name, "a number above 0", String(value));
}

function ascending(value: unknown, name: string): number[] {
  const list = array(value, name).map((entry, index) => positive(entry, `${name}[${index}]`));
  const isAscending = list.every(
    (entry, index) => Number.isInteger(entry) && (index === 0 || entry > list[index - 1]!),
  );
  if (isAscending && list.length > 0 && list.length <= GRID_MAX) return list;
  throw wrong(name, `1 to ${GRID_MAX} whole numbers, ascending`, list.join(", "));
}

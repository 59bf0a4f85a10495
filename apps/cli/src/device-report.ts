import type { DeviceCell, DeviceProfile } from "@flashlm/contracts";
import { formatBytes } from "./memory-option.js";

const PLOT_ROWS = 12;
const PLOT_COLUMNS_PER_CHUNK = 6;
/** One mark per curve. */
const MARKS = ["o", "+", "x", "#"] as const;

/** A curve of a plot: speeds by chunk length, null where there is none. */
export interface SpeedCurve {
  readonly depth: number;
  readonly megabytesPerSecond: readonly (number | null)[];
}

/** Up to four depths from the shallowest to the deepest, as curves over the chunk lengths. */
export function speedCurves(profile: DeviceProfile): SpeedCurve[] {
  const { depths } = profile;
  const last = depths.length - 1;
  const count = Math.min(MARKS.length, depths.length);
  const chosen = Array.from({ length: count }, (_, index) =>
    count === 1 ? 0 : Math.round((index * last) / (count - 1)),
  );
  return chosen.map((column) => ({
    depth: depths[column]!,
    megabytesPerSecond: profile.chunkBytes.map((_, row) => {
      const speed = profile.cells[row * depths.length + column]!.bytesPerSecond;
      return speed === null ? null : speed / 1e6;
    }),
  }));
}

/** "4K", "2M". */
export function shortBytes(lengthBytes: number): string {
  return lengthBytes >= 2 ** 20 ? `${lengthBytes / 2 ** 20}M` : `${lengthBytes / 1024}K`;
}

/** A profile for people: what was measured, tables and a plot. */
export function describeProfile(profile: DeviceProfile): string[] {
  const { device, directAlignmentBytes } = profile;
  const place = [device.source || device.deviceId, device.fileSystem, device.mountPath].filter(Boolean);
  const file = `${formatBytes(profile.file.sizeBytes)}${profile.file.isTemporary ? ", temporary" : ""}`;
  return [
    `device      ${place.join(", ")}`,
    `reader      ${profile.backend} ${profile.directIo ? "direct" : "buffered"}${profile.note ? ` (${profile.note})` : ""}; file ${file}`,
    `alignment   ${directAlignmentBytes === null ? "no reads past the page cache" : `${directAlignmentBytes} B past the page cache`}`,
    `sequential  ${megabytes(profile.sequential.bytesPerSecond)} MB/s in reads of ${shortBytes(profile.sequential.chunkBytes)}, ${profile.sequential.depth} in flight`,
    `memory copy ${(profile.copyBytesPerSecond / 1e9).toFixed(1)} GB/s`,
    `measured    ${profile.measuredAt} in ${(profile.elapsedMs / 1000).toFixed(1)} s`,
    "",
    "random reads, MB/s, by length and number in flight (* interpolated, - not measured)",
    ...table(profile, (cell) =>
      cell.bytesPerSecond === null
        ? "-"
        : `${megabytes(cell.bytesPerSecond)}${cell.origin === "interpolated" ? "*" : ""}`,
    ),
    "",
    "mean time of a read, ms (and that of the slowest percent)",
    ...table(profile, (cell) =>
      cell.latency === null
        ? "-"
        : `${milliseconds(cell.latency.meanMs)} (${milliseconds(cell.latency.p99Ms)})`,
    ),
    "",
    ...plot(profile),
  ];
}

function megabytes(bytesPerSecond: number): string {
  const value = bytesPerSecond / 1e6;
  return value.toFixed(value < 10 ? 1 : 0);
}

function milliseconds(value: number): string {
  return value.toFixed(value < 9.95 ? 2 : 0);
}

function table(profile: DeviceProfile, show: (cell: DeviceCell) => string): string[] {
  const { depths, chunkBytes, cells } = profile;
  const width = Math.max(...cells.map((cell) => show(cell).length)) + 2;
  const line = (head: string, rest: readonly string[]): string =>
    `${head.padStart(6)} ${rest.map((entry) => entry.padStart(width)).join("")}`;
  return [
    line("", depths.map(String)),
    ...chunkBytes.map((lengthBytes, row) =>
      line(shortBytes(lengthBytes), cells.slice(row * depths.length, (row + 1) * depths.length).map(show)),
    ),
  ];
}

/** Curves in characters: marks at what was measured, dots between. */
function plot(profile: DeviceProfile): string[] {
  const curves = speedCurves(profile);
  const most = Math.max(1, ...curves.flatMap((curve) => curve.megabytesPerSecond.map((speed) => speed ?? 0)));
  const width = (profile.chunkBytes.length - 1) * PLOT_COLUMNS_PER_CHUNK + 1;
  const rows = Array.from({ length: PLOT_ROWS }, () => new Array<string>(width).fill(" "));
  for (const [index, curve] of curves.entries()) drawCurve(rows, curve, MARKS[index]!, most);
  const axis = profile.chunkBytes
    .map((lengthBytes) => shortBytes(lengthBytes).padEnd(PLOT_COLUMNS_PER_CHUNK))
    .join("");
  return [
    ...rows.map((row, index) => {
      const label = index % 4 === 0 ? ((most * (PLOT_ROWS - 1 - index)) / (PLOT_ROWS - 1)).toFixed(0) : "";
      return `${label.padStart(6)} |${row.join("").trimEnd()}`;
    }),
    `  MB/s +${"-".repeat(width)}`,
    `        ${axis.trimEnd()}`,
    `        ${curves.map((curve, index) => `${MARKS[index]} ${curve.depth} in flight`).join("   ")}`,
  ];
}

function drawCurve(rows: string[][], curve: SpeedCurve, mark: string, most: number): void {
  const put = (column: number, speed: number, sign: string): void => {
    const row = rows[PLOT_ROWS - 1 - Math.round((speed / most) * (PLOT_ROWS - 1))]!;
    if (row[column] === " " || row[column] === ".") row[column] = sign;
  };
  for (const [index, speed] of curve.megabytesPerSecond.entries()) {
    if (speed === null) continue;
    const column = index * PLOT_COLUMNS_PER_CHUNK;
    put(column, speed, mark);
    const next = curve.megabytesPerSecond[index + 1];
    if (next === null || next === undefined) continue;
    for (let step = 1; step < PLOT_COLUMNS_PER_CHUNK; step++) {
      put(column + step, speed + ((next - speed) * step) / PLOT_COLUMNS_PER_CHUNK, ".");
    }
  }
}

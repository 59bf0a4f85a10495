import type { DeviceCell } from "@flashlm/contracts";

/** 4 KiB to 4 MiB. */
export const CHUNKS_BYTES: readonly number[] = Array.from({ length: 11 }, (_, power) => 4096 * 2 ** power);
/** 1 to 128. */
export const DEPTHS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128];

/** A place in the table. */
export interface GridPlace {
  readonly index: number;
  readonly chunkBytes: number;
  readonly depth: number;
}

/** 0 for the corners and every fourth row, then every second, then the rest. */
function coarseness(index: number, count: number): number {
  if (index % 4 === 0 || index === count - 1) return 0;
  return index % 2 === 0 ? 1 : 2;
}

/** The finer of both counts; among equals, places in a coarse row or column come first. */
function rankOf(row: number, column: number): number {
  return 8 * Math.max(row, column) + row + column;
}

/** Every place, coarse ones first: whenever time runs out, what is missing lies between what was measured. */
export function measuringOrder(chunks: readonly number[], depths: readonly number[]): GridPlace[] {
  const places = chunks.flatMap((chunkBytes, row) =>
    depths.map((depth, column) => ({
      index: row * depths.length + column,
      chunkBytes,
      depth,
      rank: rankOf(coarseness(row, chunks.length), coarseness(column, depths.length)),
    })),
  );
  return places.toSorted((a, b) => a.rank - b.rank || a.index - b.index);
}

/** A cell without figures. */
export function skippedCell(chunkBytes: number, depth: number): DeviceCell {
  return {
    chunkBytes,
    depth,
    origin: "skipped",
    bytesPerSecond: null,
    spread: null,
    latency: null,
    readCount: 0,
  };
}

/**
 * Fills the places that `wanted` names from measured neighbours on both sides: along the chunk length at one depth (the time of a request is
 * close to linear in its length), else along the depth. What lies at an edge of what was measured stays skipped.
 */
export function interpolateCells(
  cells: readonly DeviceCell[],
  depthCount: number,
  wanted: ReadonlySet<number>,
): DeviceCell[] {
  return cells.map((cell, index) => {
    if (!wanted.has(index) || cell.origin === "measured") return cell;
    const between =
      neighbours(cells, index, depthCount, (other) => other % depthCount === index % depthCount) ??
      neighbours(
        cells,
        index,
        1,
        (other) => Math.floor(other / depthCount) === Math.floor(index / depthCount),
      );
    if (between === undefined) return cell;
    return { ...cell, origin: "interpolated" as const, bytesPerSecond: speedBetween(cell, ...between) };
  });
}

/** Nearest measured cells on both sides of `index`, `step` apart, as long as `isInLine`. */
function neighbours(
  cells: readonly DeviceCell[],
  index: number,
  step: number,
  isInLine: (index: number) => boolean,
): [DeviceCell, DeviceCell] | undefined {
  const nearest = (direction: number): DeviceCell | undefined => {
    for (let other = index + direction; cells[other] !== undefined && isInLine(other); other += direction) {
      if (cells[other]!.origin === "measured") return cells[other];
    }
    return undefined;
  };
  const lower = nearest(-step);
  const upper = nearest(step);
  return lower === undefined || upper === undefined ? undefined : [lower, upper];
}

function speedBetween(cell: DeviceCell, lower: DeviceCell, upper: DeviceCell): number {
  if (lower.chunkBytes === upper.chunkBytes) {
    const share = Math.log(cell.depth / lower.depth) / Math.log(upper.depth / lower.depth);
    return lower.bytesPerSecond! ** (1 - share) * upper.bytesPerSecond! ** share;
  }
  const share = (cell.chunkBytes - lower.chunkBytes) / (upper.chunkBytes - lower.chunkBytes);
  const lowerSeconds = lower.chunkBytes / lower.bytesPerSecond!;
  const upperSeconds = upper.chunkBytes / upper.bytesPerSecond!;
  return cell.chunkBytes / (lowerSeconds + share * (upperSeconds - lowerSeconds));
}

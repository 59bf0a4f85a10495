import { FlashlmError } from "@flashlm/contracts";
import { encodeRow } from "../codecs/index.js";
import { type TensorPlace, TensorRowReader } from "../sources/tensor-rows.js";

/** Largest half. */
const HALF_MAX = 65504;
/** Where a matrix is scaled, its largest number comes to lie between half of this and this: far from both ends of a half's range. */
const LARGEST_WANTED = 1024;
/** Rows are read in pieces of about this many numbers. */
const PIECE_ELEMENTS = 1 << 18;

/** A matrix in halves: the source's times `scale`, a power of two. */
export interface HalfMatrix {
  readonly bytes: Uint8Array;
  readonly scale: number;
}

type VisitRow = (row: number, values: Float32Array) => void;

function eachRow(place: TensorPlace, divisors: Float32Array | null, visit: VisitRow): void {
  const [rowCount, columnCount] = place.shape as [number, number];
  const reader = new TensorRowReader();
  const pieceRows = Math.max(1, Math.floor(PIECE_ELEMENTS / columnCount));
  const piece = new Float32Array(pieceRows * columnCount);
  for (let begin = 0; begin < rowCount; begin += pieceRows) {
    const end = Math.min(rowCount, begin + pieceRows);
    reader.readRows("a head", place, begin, end, piece);
    for (let row = begin; row < end; row++) {
      const values = piece.subarray((row - begin) * columnCount, (row - begin + 1) * columnCount);
      if (divisors !== null)
        for (let column = 0; column < columnCount; column++) values[column]! /= divisors[column]!;
      visit(row, values);
    }
  }
}

/**
 * Reads a matrix into halves. `order[n]` is the source's row of row n (null: as it is); columns are divided by `divisors`. It is scaled where it was
 * divided or is too large for halves.
 * @throws CHECKPOINT_FORMAT for numbers that are not finite, and what reading throws.
 */
export function headMatrix(
  place: TensorPlace,
  order: Uint32Array | null,
  divisors: Float32Array | null,
): HalfMatrix {
  const [rowCount, columnCount] = place.shape as [number, number];
  let largest = 0;
  let allFinite = true;
  eachRow(place, divisors, (_, values) => {
    for (const value of values) {
      allFinite &&= Number.isFinite(value);
      largest = Math.max(largest, Math.abs(value));
    }
  });
  if (!allFinite) {
    const { path } = place.file;
    throw new FlashlmError("CHECKPOINT_FORMAT", `${path} has a head with numbers that are not finite`, {
      path,
    });
  }
  const isScaled = largest > 0 && (divisors !== null || largest > HALF_MAX);
  const scale = isScaled ? 2 ** Math.floor(Math.log2(LARGEST_WANTED / largest)) : 1;
  const bytes = new Uint8Array(rowCount * columnCount * 2);
  const target = new Uint32Array(rowCount);
  for (let row = 0; row < rowCount; row++) target[order === null ? row : order[row]!] = row;
  eachRow(place, divisors, (row, values) => {
    if (scale !== 1) for (let column = 0; column < columnCount; column++) values[column]! *= scale;
    const at = target[row]! * columnCount * 2;
    encodeRow("f16", values, bytes.subarray(at, at + columnCount * 2));
  });
  return { bytes, scale };
}

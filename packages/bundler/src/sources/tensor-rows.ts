import { FlashlmError } from "@flashlm/contracts";
import { SOURCE_TYPES, type SourceTypeInfo } from "../codecs/index.js";
import type { PositionalFile } from "./positional-file.js";

/** Rows are read in pieces of about this size: large enough for full throughput, small against any budget. */
const CHUNK_BYTES = 1 << 20;

/** Rows of a tensor within a fused one: runs of `runRows` neighbours, `strideRows` apart, the first at `firstRow`. */
export interface RowRuns {
  readonly firstRow: number;
  readonly runRows: number;
  readonly strideRows: number;
}

/** Where a tensor stands, and how its rows are ordered there. */
export interface TensorPlace {
  readonly file: PositionalFile;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly sourceType: string;
  /** `[rows, columns]` or `[columns]`. */
  readonly shape: readonly number[];
  /** Set where the rows of each head of this many rows are stored as rotary pairs (0, half, 1, half + 1, ...). */
  readonly pairedHeadDim: number | null;
  /** Set where it is a part of a fused tensor that begins at `offsetBytes`; of a fused vector, rows are elements. */
  readonly runs?: RowRuns;
  /** Added to every value: norms that the checkpoint stores less 1. */
  readonly addend?: number;
  /** Every value, of a tensor that is not stored. */
  readonly constant?: number;
}

/** Row (within a tensor of rotary pairs) that holds row `row` of the order in halves. */
function pairedRow(row: number, headDim: number): number {
  const within = row % headDim;
  const half = headDim / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

/** One run without end. */
const WHOLE: RowRuns = { firstRow: 0, runRows: Number.POSITIVE_INFINITY, strideRows: 0 };

/** Takes stored bytes of `count` rows from `row` on. */
type PutRows = (bytes: Uint8Array, row: number, count: number) => void;

/** Reads rows of tensors as f32 through one scratch buffer. */
export class TensorRowReader {
  #scratch: Uint8Array = new Uint8Array(0);

  /** See `Checkpoint.readRows`. */
  readRows(name: string, place: TensorPlace, rowBegin: number, rowEnd: number, target: Float32Array): void {
    const info = SOURCE_TYPES.get(place.sourceType)!;
    const columnCount = place.shape.at(-1)!;
    const elementCount = this.#checkRange(name, place, rowBegin, rowEnd) * columnCount;
    if (target.length < elementCount) {
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `rows of ${name} need a target of ${elementCount} numbers; got ${target.length}`,
        { name, elementCount, targetLength: target.length },
      );
    }
    if (elementCount === 0) return;
    const wanted = target.subarray(0, elementCount);
    const { addend, constant, pairedHeadDim } = place;
    if (constant !== undefined) wanted.fill(constant);
    else if (place.shape.length === 1) this.#readVector(place, info, pairedHeadDim, wanted);
    else {
      this.#eachRun(place, info, rowBegin, rowEnd, (bytes, row, count) =>
        info.dequantise(bytes, target.subarray(row * columnCount, (row + count) * columnCount)),
      );
    }
    if (addend !== undefined)
      for (let index = 0; index < elementCount; index++) wanted[index] = wanted[index]! + addend;
  }

  /** See `Checkpoint.readStored`. */
  readStored(name: string, place: TensorPlace, rowBegin: number, rowEnd: number, target: Uint8Array): void {
    const info = SOURCE_TYPES.get(place.sourceType)!;
    const rowBytes = (place.shape.at(-1)! / info.blockElements) * info.blockBytes;
    const lengthBytes = this.#checkRange(name, place, rowBegin, rowEnd) * rowBytes;
    if (place.shape.length === 1 || target.length < lengthBytes) {
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `stored rows of ${name} need a matrix and a target of ${lengthBytes} bytes; got ${target.length}`,
        { name, lengthBytes, targetLength: target.length },
      );
    }
    this.#eachRun(place, info, rowBegin, rowEnd, (bytes, row) => target.set(bytes, row * rowBytes));
  }

  /** Number of rows of the range. */
  #checkRange(name: string, place: TensorPlace, rowBegin: number, rowEnd: number): number {
    const rowCount = place.shape.length === 1 ? 1 : place.shape[0]!;
    const isRange = Number.isInteger(rowBegin) && Number.isInteger(rowEnd) && 0 <= rowBegin;
    if (!isRange || rowBegin > rowEnd || rowEnd > rowCount) {
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `rows ${rowBegin} to ${rowEnd} of ${name} were asked for; it has ${rowCount}`,
        { name, rowBegin, rowEnd, rowCount },
      );
    }
    return rowEnd - rowBegin;
  }

  /** Frees the scratch buffer. */
  release(): void {
    this.#scratch = new Uint8Array(0);
  }

  #bytesAt(place: TensorPlace, offsetBytes: number, lengthBytes: number): Uint8Array {
    if (this.#scratch.length < lengthBytes) this.#scratch = new Uint8Array(lengthBytes);
    const bytes = this.#scratch.subarray(0, lengthBytes);
    place.file.readInto(bytes, place.offsetBytes + offsetBytes);
    return bytes;
  }

  /** Stored bytes of the rows in runs of neighbours; `row` counts from `rowBegin`. */
  #eachRun(place: TensorPlace, info: SourceTypeInfo, rowBegin: number, rowEnd: number, put: PutRows): void {
    const rowBytes = (place.shape.at(-1)! / info.blockElements) * info.blockBytes;
    if (place.pairedHeadDim !== null) {
      this.#eachPaired(place, place.pairedHeadDim, rowBegin, rowEnd, rowBytes, put);
      return;
    }
    const chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
    const { firstRow, runRows, strideRows } = place.runs ?? WHOLE;
    for (let row = rowBegin; row < rowEnd; ) {
      const within = row % runRows;
      const count = Math.min(chunkRows, rowEnd - row, runRows - within);
      const first = firstRow + ((row - within) / runRows) * strideRows + within;
      put(this.#bytesAt(place, first * rowBytes, count * rowBytes), row - rowBegin, count);
      row += count;
    }
  }

  #eachPaired(
    place: TensorPlace,
    headDim: number,
    rowBegin: number,
    rowEnd: number,
    rowBytes: number,
    put: PutRows,
  ): void {
    // Rows of one half of a head are every second row of the file: read the span once and pick.
    const spanRows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes / 2));
    const half = headDim / 2;
    for (let row = rowBegin; row < rowEnd; ) {
      const count = Math.min(rowEnd - row, half - (row % half), spanRows);
      const first = pairedRow(row, headDim);
      const bytes = this.#bytesAt(place, first * rowBytes, (2 * count - 1) * rowBytes);
      for (let index = 0; index < count; index++) {
        const from = 2 * index * rowBytes;
        put(bytes.subarray(from, from + rowBytes), row - rowBegin + index, 1);
      }
      row += count;
    }
  }

  #readVector(
    place: TensorPlace,
    info: SourceTypeInfo,
    pairedHeadDim: number | null,
    target: Float32Array,
  ): void {
    const lengthBytes = (elements: number): number =>
      Math.ceil(elements / info.blockElements) * info.blockBytes;
    if (pairedHeadDim === null) {
      const { firstRow, runRows, strideRows } = place.runs ?? WHOLE;
      for (let done = 0, run = firstRow; done < target.length; run += strideRows) {
        const count = Math.min(runRows, target.length - done);
        info.dequantise(
          this.#bytesAt(place, lengthBytes(run), lengthBytes(count)),
          target.subarray(done, done + count),
        );
        done += count;
      }
      return;
    }
    const paired = new Float32Array(target.length);
    info.dequantise(this.#bytesAt(place, 0, place.lengthBytes), paired);
    for (let index = 0; index < target.length; index++)
      target[index] = paired[pairedRow(index, pairedHeadDim)]!;
  }
}

import { FlashlmError } from "@flashlm/contracts";
import { SOURCE_TYPES, type SourceTypeInfo } from "../codecs/index.js";
import type { PositionalFile } from "./positional-file.js";

/** Rows are read in pieces of about this size: large enough for full throughput, small against any budget. */
const CHUNK_BYTES = 1 << 20;

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
}

/** Row (within a tensor of rotary pairs) that holds row `row` of the order in halves. */
function pairedRow(row: number, headDim: number): number {
  const within = row % headDim;
  const half = headDim / 2;
  return row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

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
    if (place.pairedHeadDim !== null && place.shape.length === 1) {
      this.#readPairedVector(place, info, place.pairedHeadDim, target.subarray(0, elementCount));
      return;
    }
    this.#eachRun(place, info, rowBegin, rowEnd, (bytes, row, count) =>
      info.dequantise(bytes, target.subarray(row * columnCount, (row + count) * columnCount)),
    );
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
    for (let row = rowBegin; row < rowEnd; row += chunkRows) {
      const count = Math.min(chunkRows, rowEnd - row);
      put(this.#bytesAt(place, row * rowBytes, count * rowBytes), row - rowBegin, count);
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

  #readPairedVector(place: TensorPlace, info: SourceTypeInfo, headDim: number, target: Float32Array): void {
    const paired = new Float32Array(target.length);
    info.dequantise(this.#bytesAt(place, 0, place.lengthBytes), paired);
    for (let index = 0; index < target.length; index++) target[index] = paired[pairedRow(index, headDim)]!;
  }
}

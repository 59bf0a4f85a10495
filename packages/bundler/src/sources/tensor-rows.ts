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

/** Reads rows of tensors as f32 through one scratch buffer. */
export class TensorRowReader {
  #scratch: Uint8Array = new Uint8Array(0);

  /** See `Checkpoint.readRows`. */
  readRows(name: string, place: TensorPlace, rowBegin: number, rowEnd: number, target: Float32Array): void {
    const info = SOURCE_TYPES.get(place.sourceType)!;
    const isVector = place.shape.length === 1;
    const rowCount = isVector ? 1 : place.shape[0]!;
    const columnCount = place.shape[isVector ? 0 : 1]!;
    const isRange = Number.isInteger(rowBegin) && Number.isInteger(rowEnd) && 0 <= rowBegin;
    if (!isRange || rowBegin > rowEnd || rowEnd > rowCount) {
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `rows ${rowBegin} to ${rowEnd} of ${name} were asked for; it has ${rowCount}`,
        { name, rowBegin, rowEnd, rowCount },
      );
    }
    const elementCount = (rowEnd - rowBegin) * columnCount;
    if (target.length < elementCount) {
      throw new FlashlmError(
        "CHECKPOINT_SHAPE",
        `rows of ${name} need a target of ${elementCount} numbers; got ${target.length}`,
        { name, elementCount, targetLength: target.length },
      );
    }
    if (elementCount === 0) return;
    const fitting = target.subarray(0, elementCount);
    const rowBytes = (columnCount / info.blockElements) * info.blockBytes;
    if (place.pairedHeadDim === null) this.#readPlain(place, info, rowBegin, rowBytes, fitting);
    else if (isVector) this.#readPairedVector(place, info, place.pairedHeadDim, fitting);
    else this.#readPaired(place, info, place.pairedHeadDim, rowBegin, rowEnd, rowBytes, fitting);
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

  #readPlain(
    place: TensorPlace,
    info: SourceTypeInfo,
    rowBegin: number,
    rowBytes: number,
    target: Float32Array,
  ): void {
    const columnCount = (rowBytes / info.blockBytes) * info.blockElements;
    const rowCount = target.length / columnCount;
    const chunkRows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
    for (let row = 0; row < rowCount; row += chunkRows) {
      const count = Math.min(chunkRows, rowCount - row);
      const bytes = this.#bytesAt(place, (rowBegin + row) * rowBytes, count * rowBytes);
      info.dequantise(bytes, target.subarray(row * columnCount, (row + count) * columnCount));
    }
  }

  #readPaired(
    place: TensorPlace,
    info: SourceTypeInfo,
    headDim: number,
    rowBegin: number,
    rowEnd: number,
    rowBytes: number,
    target: Float32Array,
  ): void {
    const columnCount = (rowBytes / info.blockBytes) * info.blockElements;
    // Rows of one half of a head are every second row of the file: read the span once and pick.
    const spanRows = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes / 2));
    const half = headDim / 2;
    for (let row = rowBegin; row < rowEnd; ) {
      const count = Math.min(rowEnd - row, half - (row % half), spanRows);
      const first = pairedRow(row, headDim);
      const bytes = this.#bytesAt(place, first * rowBytes, (2 * count - 1) * rowBytes);
      for (let index = 0; index < count; index++) {
        const out = (row - rowBegin + index) * columnCount;
        const from = 2 * index * rowBytes;
        info.dequantise(bytes.subarray(from, from + rowBytes), target.subarray(out, out + columnCount));
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

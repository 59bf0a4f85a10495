import type { PlannedFile, PlannedTensor } from "./file-plan.js";
import { RowFiller } from "./row-filler.js";

/** Fills any range of a planned file. */
export class RangeFiller {
  readonly #rows = new RowFiller();
  #scratch = new Uint8Array(0);

  /** Writes the file's bytes from `offsetBytes` on into `target`; what is beyond the file's end, or between tensors, becomes zero. */
  fill(file: PlannedFile, offsetBytes: number, target: Uint8Array): void {
    const end = offsetBytes + target.length;
    const header = file.header.subarray(offsetBytes, end);
    target.set(header);
    let done = header.length;
    for (let index = firstBehind(file.tensors, offsetBytes); index < file.tensors.length; index++) {
      const tensor = file.tensors[index]!;
      if (tensor.offsetBytes >= end) break;
      const begin = tensor.offsetBytes - offsetBytes;
      if (begin > done) target.fill(0, done, begin);
      this.#fillTensor(tensor, offsetBytes, target);
      done = begin + tensor.lengthBytes;
    }
    if (done < target.length) target.fill(0, done);
  }

  #fillTensor(tensor: PlannedTensor, offsetBytes: number, target: Uint8Array): void {
    const { rowBytes, rowCount } = tensor;
    const begin = tensor.offsetBytes - offsetBytes;
    const firstRow = Math.max(0, Math.floor(-begin / rowBytes));
    const endRow = Math.min(rowCount, Math.ceil((target.length - begin) / rowBytes));
    for (let row = firstRow; row < endRow; row++) {
      const at = begin + row * rowBytes;
      const inside = at >= 0 && at + rowBytes <= target.length && (target.byteOffset + at) % 4 === 0;
      const bytes = inside ? target.subarray(at, at + rowBytes) : this.#scratchRow(rowBytes);
      this.#rows.fill(tensor.recipe, tensor.dtype, tensor.seed, row, tensor.columnCount, bytes);
      if (!inside) target.set(bytes.subarray(Math.max(0, -at), target.length - at), Math.max(0, at));
    }
  }

  #scratchRow(lengthBytes: number): Uint8Array {
    if (this.#scratch.length < lengthBytes) this.#scratch = new Uint8Array(lengthBytes);
    return this.#scratch.subarray(0, lengthBytes);
  }
}

/** Index of the first tensor that ends behind an offset. */
function firstBehind(tensors: readonly PlannedTensor[], offsetBytes: number): number {
  let low = 0;
  let high = tensors.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (tensors[middle]!.offsetBytes + tensors[middle]!.lengthBytes <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

import {
  alignUp,
  type BundleTensor,
  type FlashReader,
  type KernelSet,
  ReadBatch,
  type WeightRef,
} from "@flashlm/contracts";
import { BLOCK_ALIGNMENT_BYTES } from "./blocks.js";

/** Rows of a table for the tokens of a pass. */
export interface RowTable {
  /** What a program gathers from, by the row ids that {@link place} leaves. */
  readonly table: WeightRef;
  /** Makes the rows ready: those of `ids`, `count` of them. */
  place(ids: ArrayLike<number>, count: number): void;
}

/** A table that is in memory: the ids are the rows. `rowIds` u32 `[count]`, written by `place`. */
export function tableInMemory(table: WeightRef, rowIds: Uint32Array): RowTable {
  return {
    table,
    place: (ids, count) => {
      for (let token = 0; token < count; token++) rowIds[token] = ids[token]!;
    },
  };
}

/** Bytes of the staging of {@link tableOnFlash}. */
export function rowStagingBytes({ lengthBytes, rowCount }: BundleTensor, tokenCapacity: number): number {
  return alignUp((lengthBytes / rowCount) * tokenCapacity, BLOCK_ALIGNMENT_BYTES);
}

/** A table on flash, whose rows are read when they are wanted. `rowIds` u32 `[count]`, written by `place`. */
export function tableOnFlash(
  tensor: BundleTensor,
  rowIds: Uint32Array,
  tokenCapacity: number,
  reader: FlashReader,
  kernels: KernelSet,
): RowTable {
  const rowBytes = tensor.lengthBytes / tensor.rowCount;
  const rows = kernels.memory.allocate(rowStagingBytes(tensor, tokenCapacity), BLOCK_ALIGNMENT_BYTES);
  const batch = new ReadBatch(tokenCapacity);
  return {
    table: { dtype: tensor.dtype, rowCount: tokenCapacity, columnCount: tensor.columnCount, base: rows },
    place: (ids, count) => {
      batch.clear();
      for (let token = 0; token < count; token++) {
        rowIds[token] = token;
        batch.push(tensor.fileIndex, tensor.offsetBytes + ids[token]! * rowBytes, rowBytes, {
          arenaId: rows.arenaId,
          offsetBytes: rows.offsetBytes + token * rowBytes,
        });
      }
      reader.submit(batch).waitAll();
    },
  };
}

import {
  alignUp,
  type ModelConfig,
  type RecordLayout,
  type RecordPart,
  rowBytes,
  type WeightDtype,
} from "@flashlm/contracts";
import { SECTOR_BYTES, VECTOR_ALIGNMENT_BYTES } from "./limits.js";

/** True where q8_0 and q4_0 rows of this many weights exist (whole blocks of 32). */
export function fitsBlocks(columnCount: number): boolean {
  return columnCount % 32 === 0;
}

/** dtype of gate and up vectors, and of everything else that is a matrix, for a bundle's named dtype. */
export function partDtype(dtype: WeightDtype, part: "gate" | "up" | "down"): WeightDtype {
  return dtype === "q4_0" && part === "down" ? "q8_0" : dtype;
}

/** dtype of a resident matrix with rows of `columnCount`; rows that are not whole blocks are kept in f16. */
export function matrixDtype(dtype: WeightDtype, columnCount: number): WeightDtype {
  if (dtype !== "q8_0" && dtype !== "q4_0") return dtype;
  return fitsBlocks(columnCount) ? "q8_0" : "f16";
}

/**
 * Layout of the neuron records of a model: gate (gated FFNs only), up, down, each on 16 bytes; the stride is rounded
 * up to 512 where that costs at most one eighth, otherwise to 16.
 */
export function recordLayout(
  ffnKind: ModelConfig["ffn"]["kind"],
  hiddenSize: number,
  dtype: WeightDtype,
): RecordLayout {
  const names = ffnKind === "gated" ? (["gate", "up", "down"] as const) : (["up", "down"] as const);
  const parts: RecordPart[] = [];
  let end = 0;
  for (const part of names) {
    const offsetBytes = alignUp(end, VECTOR_ALIGNMENT_BYTES);
    const lengthBytes = rowBytes(partDtype(dtype, part), hiddenSize);
    parts.push({ part, dtype: partDtype(dtype, part), offsetBytes, lengthBytes });
    end = offsetBytes + lengthBytes;
  }
  const sectorStride = alignUp(end, SECTOR_BYTES);
  const strideBytes = (sectorStride - end) * 8 <= end ? sectorStride : alignUp(end, VECTOR_ALIGNMENT_BYTES);
  return { hiddenSize, strideBytes, parts };
}

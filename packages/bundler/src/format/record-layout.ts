import {
  alignUp,
  isBlockDtype,
  type ModelConfig,
  type RecordLayout,
  type RecordPart,
  residentMatrixDtype,
  rowBytes,
  type WeightDtype,
} from "@flashlm/contracts";
import { SECTOR_BYTES, VECTOR_ALIGNMENT_BYTES } from "./limits.js";

/** Padding of a record up to whole sectors may cost one part in this many. Dense runs read every byte of it (bench/record-stride.mjs). */
const PADDING_SHARE = 16;

/** True where rows of this many weights are whole blocks of 32. */
export function fitsBlocks(columnCount: number): boolean {
  return columnCount % 32 === 0;
}

/** dtype of gate and up vectors, and of everything else that is a matrix, for a bundle's named dtype. */
export function partDtype(dtype: WeightDtype, part: "gate" | "up" | "down"): WeightDtype {
  return (dtype === "q4_0" || dtype === "q4_1") && part === "down" ? "q8_0" : dtype;
}

/** dtype of a resident matrix with rows of `columnCount`: 4-bit ones stay as they are, others become q8_0, rows that are not whole blocks f16. */
function matrixDtype(dtype: WeightDtype, columnCount: number, sourceType: string): WeightDtype {
  if (!isBlockDtype(dtype)) return dtype;
  if (!fitsBlocks(columnCount)) return "f16";
  return isStoredAs(sourceType, dtype) ? dtype : "q8_0";
}

/** What a bundle's weights are stored in. */
export interface BundleDtypes {
  readonly dtype: WeightDtype;
  /** Of attention projections, embedding and head; absent where they follow `dtype`. */
  readonly residentDtype?: WeightDtype | undefined;
}

/** Name and shape of a resident matrix. */
export interface ResidentMatrix {
  readonly name: string;
  readonly rowCount: number;
  readonly columnCount: number;
}

/** dtype that a resident matrix of a checkpoint's type gets in a bundle. */
export function residentDtypeFor(
  { dtype, residentDtype }: BundleDtypes,
  matrix: ResidentMatrix,
  sourceType: string,
): WeightDtype {
  const own = residentDtype === undefined ? null : residentMatrixDtype(residentDtype, matrix);
  return own ?? matrixDtype(dtype, matrix.columnCount, sourceType);
}

/** Every dtype that {@link residentDtypeFor} may give. */
export function residentDtypesFor(dtypes: BundleDtypes, matrix: ResidentMatrix): readonly WeightDtype[] {
  return [residentDtypeFor(dtypes, matrix, dtypes.dtype), residentDtypeFor(dtypes, matrix, "")];
}

/** Whether a checkpoint's tensor has the very blocks or numbers of a dtype. */
export function isStoredAs(sourceType: string, dtype: WeightDtype): boolean {
  return sourceType.toUpperCase() === dtype.toUpperCase();
}

/** Strides that a record of `lengthBytes` may have: packed, and in whole sectors. */
export function recordStrides(lengthBytes: number): [packed: number, padded: number] {
  return [alignUp(lengthBytes, VECTOR_ALIGNMENT_BYTES), alignUp(lengthBytes, SECTOR_BYTES)];
}

/**
 * Layout of the neuron records of a model: gate (gated FFNs only), up, down, each on 16 bytes; the stride is rounded
 * up to 512 where that costs at most a sixteenth, otherwise to 16.
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
  const [packed, padded] = recordStrides(end);
  const strideBytes = (padded - end) * PADDING_SHARE <= end ? padded : packed;
  return { hiddenSize, strideBytes, parts };
}

import { transposeInto } from "./transpose.js";
import type { Matrix, Workspace } from "./workspace.js";

/** Columns that are found together; all before them enter through one product of the kernels. */
const BLOCK = 64;

/** Matrices of {@link inverseFactor}, each of `rowCount * rowCount` elements at least. */
export interface FactorMatrices {
  /** In: A, symmetric and positive. Out: M = L⁻¹, where A = L Lᵀ (Cholesky), 0 above the diagonal. */
  readonly matrix: Matrix;
  /** Out: Mᵀ. */
  readonly transposed: Matrix;
  /** Overwritten. */
  readonly lower: Matrix;
  readonly panel: Matrix;
}

/**
 * The inverse of the Cholesky factor of `matrix` `[rowCount, rowCount]`, so that A⁻¹ = Mᵀ M. About 2 rowCount³ operations in the kernels and `BLOCK` * rowCount² outside them. Pivots
 * below `pivotMin` are raised to it: with a ridge on its diagonal no pivot of A is lower, but for rounding to f32.
 */
export async function inverseFactor(
  workspace: Workspace,
  { matrix, transposed, lower, panel }: FactorMatrices,
  rowCount: number,
  pivotMin: number,
): Promise<void> {
  lower.floats.fill(0, 0, rowCount * rowCount);
  transposed.floats.fill(0, 0, rowCount * rowCount);
  const rowsFrom = (row: number) => ({
    ...lower.handle,
    offsetBytes: lower.handle.offsetBytes + row * rowCount * 4,
  });
  for (const inverting of [false, true]) {
    for (let begin = 0; begin < rowCount; begin += BLOCK) {
      const count = Math.min(BLOCK, rowCount - begin);
      // What is not found yet is 0 and adds nothing.
      await workspace.multiply({
        weight: rowsFrom(begin),
        rowCount: count,
        columnCount: rowCount,
        source: inverting ? transposed.handle : rowsFrom(begin),
        tokenCount: inverting ? begin + count : rowCount - begin,
        target: panel.handle,
      });
      const block = { rowCount, begin, count };
      if (inverting) invertRows(lower.floats, panel.floats, transposed.floats, block);
      else factorColumns(matrix.floats, panel.floats, lower.floats, block, pivotMin);
    }
  }
  transposeInto(transposed.floats, rowCount, rowCount, matrix.floats);
}

interface Block {
  readonly rowCount: number;
  readonly begin: number;
  readonly count: number;
}

/** Columns `begin ..` of L from A and from `panel`, the products of the rows `begin ..` of L with its rows of the block. */
function factorColumns(
  matrix: Float32Array,
  panel: Float32Array,
  lower: Float32Array,
  { rowCount, begin, count }: Block,
  pivotMin: number,
): void {
  for (let row = begin; row < rowCount; row++) {
    const at = row * rowCount + begin;
    const products = (row - begin) * count;
    for (let column = 0; column < Math.min(count, row - begin + 1); column++) {
      const other = (begin + column) * rowCount + begin;
      let sum = matrix[at + column]! - panel[products + column]!;
      for (let k = 0; k < column; k++) sum -= lower[at + k]! * lower[other + k]!;
      lower[at + column] =
        row === begin + column ? Math.sqrt(Math.max(sum, pivotMin)) : sum / lower[other + column]!;
    }
  }
}

/** Rows `begin ..` of L⁻¹, as columns of its transpose, from L and from `panel`, the products of these rows of L with what is known of L⁻¹. */
function invertRows(
  lower: Float32Array,
  panel: Float32Array,
  transposed: Float32Array,
  { rowCount, begin, count }: Block,
): void {
  for (let row = 0; row < begin + count; row++) {
    const at = row * rowCount + begin;
    for (let column = Math.max(0, row - begin); column < count; column++) {
      const other = (begin + column) * rowCount + begin;
      let sum = (row === begin + column ? 1 : 0) - panel[row * count + column]!;
      for (let k = 0; k < column; k++) sum -= lower[other + k]! * transposed[at + k]!;
      transposed[at + column] = sum / lower[other + column]!;
    }
  }
}

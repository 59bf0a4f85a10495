/** Symmetric positive matrices and triangles, f64 row-major `[n, n]`; small enough for one thread (n is a hidden size). */

/** Rows of a Cholesky factor that are found together: each row above them is read once for all. */
const ROWS = 4;

/** Lower Cholesky factor L of a symmetric positive matrix (A = L Lᵀ), in place; what stands above the diagonal becomes 0. Pivots below `floor` are raised to it. */
export function choleskyInPlace(matrix: Float64Array, n: number, floor: number): void {
  for (let first = 0; first < n; first += ROWS) {
    const rowCount = Math.min(ROWS, n - first);
    if (rowCount === ROWS) eliminateAbove(matrix, n, first);
    for (let row = first; row < first + rowCount; row++) {
      const rowStart = row * n;
      for (let column = rowCount === ROWS ? first : 0; column <= row; column++) {
        const sum = remainder(matrix, rowStart, column * n, column);
        matrix[rowStart + column] =
          row === column ? Math.sqrt(Math.max(sum, floor)) : sum / matrix[column * n + column]!;
      }
      matrix.fill(0, rowStart + row + 1, rowStart + n);
    }
  }
}

/** `A[row, column]` less the product of what is known of both rows. */
function remainder(matrix: Float64Array, rowStart: number, columnStart: number, column: number): number {
  let sum = matrix[rowStart + column]!;
  for (let k = 0; k < column; k++) sum -= matrix[rowStart + k]! * matrix[columnStart + k]!;
  return sum;
}

/** Columns 0 to `first - 1` of the four rows from `first` on. */
function eliminateAbove(matrix: Float64Array, n: number, first: number): void {
  const [r0, r1, r2, r3] = [first * n, (first + 1) * n, (first + 2) * n, (first + 3) * n];
  for (let column = 0; column < first; column++) {
    const columnStart = column * n;
    let a = matrix[r0 + column]!;
    let b = matrix[r1 + column]!;
    let c = matrix[r2 + column]!;
    let d = matrix[r3 + column]!;
    for (let k = 0; k < column; k++) {
      const factor = matrix[columnStart + k]!;
      a -= matrix[r0 + k]! * factor;
      b -= matrix[r1 + k]! * factor;
      c -= matrix[r2 + k]! * factor;
      d -= matrix[r3 + k]! * factor;
    }
    const pivot = matrix[columnStart + column]!;
    matrix[r0 + column] = a / pivot;
    matrix[r1 + column] = b / pivot;
    matrix[r2 + column] = c / pivot;
    matrix[r3 + column] = d / pivot;
  }
}

/** Solves L y = b in place for one vector, L lower triangular. */
export function solveLower(lower: Float64Array, n: number, vector: Float64Array): void {
  for (let row = 0; row < n; row++) {
    const start = row * n;
    let sum = vector[row]!;
    for (let k = 0; k < row; k++) sum -= lower[start + k]! * vector[k]!;
    vector[row] = sum / lower[start + row]!;
  }
}

/** Solves Lᵀ y = b in place for one vector, walking L by rows. */
export function solveLowerTransposed(lower: Float64Array, n: number, vector: Float64Array): void {
  for (let row = n - 1; row >= 0; row--) {
    const start = row * n;
    const value = vector[row]! / lower[start + row]!;
    vector[row] = value;
    for (let k = 0; k < row; k++) vector[k]! -= lower[start + k]! * value;
  }
}

/** Makes the rows of `[rowCount, n]` orthonormal in place (modified Gram-Schmidt, each row twice). A row that depends on those before becomes 0. */
export function orthonormaliseRows(rows: Float32Array, rowCount: number, n: number): void {
  for (let row = 0; row < rowCount; row++) {
    const vector = rows.subarray(row * n, (row + 1) * n);
    const before = norm(vector);
    for (let pass = 0; pass < 2; pass++) {
      for (let other = 0; other < row; other++) {
        const base = rows.subarray(other * n, (other + 1) * n);
        let dot = 0;
        for (let k = 0; k < n; k++) dot += vector[k]! * base[k]!;
        for (let k = 0; k < n; k++) vector[k]! -= dot * base[k]!;
      }
    }
    const after = norm(vector);
    const scale = after > 1e-6 * before ? 1 / after : 0;
    for (let k = 0; k < n; k++) vector[k]! *= scale;
  }
}

function norm(vector: Float32Array): number {
  let squares = 0;
  for (let k = 0; k < vector.length; k++) squares += vector[k]! * vector[k]!;
  return Math.sqrt(squares);
}

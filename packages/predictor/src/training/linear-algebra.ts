/** Symmetric positive matrices and triangles, f64 row-major `[n, n]`; small enough for one thread (n is a hidden size). */

/** Lower Cholesky factor L of a symmetric positive matrix (A = L Lᵀ), in place; what stands above the diagonal becomes 0. Pivots below `floor` are raised to it. */
export function choleskyInPlace(matrix: Float64Array, n: number, floor: number): void {
  for (let row = 0; row < n; row++) {
    const rowStart = row * n;
    for (let column = 0; column <= row; column++) {
      const columnStart = column * n;
      let sum = matrix[rowStart + column]!;
      for (let k = 0; k < column; k++) sum -= matrix[rowStart + k]! * matrix[columnStart + k]!;
      matrix[rowStart + column] =
        row === column ? Math.sqrt(Math.max(sum, floor)) : sum / matrix[columnStart + column]!;
    }
    matrix.fill(0, rowStart + row + 1, rowStart + n);
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

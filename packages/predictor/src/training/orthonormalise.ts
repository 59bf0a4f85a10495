/** Rows that a row is freed of at once: it is walked half as often as for each alone. */
const GROUP = 4;

/**
 * Makes the rows of `[rowCount, n]` orthonormal in place (Gram-Schmidt, modified but for the rows of a group), as far as rounding allows in one pass: rows that are nearly
 * dependent stay nearly so. A row that depends on those before becomes 0.
 */
export function orthonormaliseRows(rows: Float32Array, rowCount: number, n: number): void {
  const rowAt = (row: number): Float32Array => rows.subarray(row * n, (row + 1) * n);
  for (let row = 0; row < rowCount; row++) {
    const vector = rowAt(row);
    const before = norm(vector);
    const grouped = row - (row % GROUP);
    for (let other = 0; other < grouped; other += GROUP)
      subtractGroup(vector, rowAt(other), rowAt(other + 1), rowAt(other + 2), rowAt(other + 3));
    for (let other = grouped; other < row; other++) subtractOne(vector, rowAt(other));
    const after = norm(vector);
    const scale = after > 1e-6 * before ? 1 / after : 0;
    for (let k = 0; k < n; k++) vector[k]! *= scale;
  }
}

function subtractGroup(
  vector: Float32Array,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
  d: Float32Array,
): void {
  let [alongA, alongB, alongC, alongD] = [0, 0, 0, 0];
  for (let k = 0; k < vector.length; k++) {
    const value = vector[k]!;
    alongA += value * a[k]!;
    alongB += value * b[k]!;
    alongC += value * c[k]!;
    alongD += value * d[k]!;
  }
  for (let k = 0; k < vector.length; k++)
    vector[k]! -= alongA * a[k]! + alongB * b[k]! + alongC * c[k]! + alongD * d[k]!;
}

function subtractOne(vector: Float32Array, base: Float32Array): void {
  let along = 0;
  for (let k = 0; k < vector.length; k++) along += vector[k]! * base[k]!;
  for (let k = 0; k < vector.length; k++) vector[k]! -= along * base[k]!;
}

function norm(vector: Float32Array): number {
  let squares = 0;
  for (let k = 0; k < vector.length; k++) squares += vector[k]! * vector[k]!;
  return Math.sqrt(squares);
}

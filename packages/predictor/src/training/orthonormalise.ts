/** Makes the rows of `[rowCount, n]` orthonormal in place (modified Gram-Schmidt). A row that depends on those before becomes 0. */
export function orthonormaliseRows(rows: Float32Array, rowCount: number, n: number): void {
  for (let row = 0; row < rowCount; row++) {
    const vector = rows.subarray(row * n, (row + 1) * n);
    const before = Math.sqrt(dot(vector, vector));
    for (let other = 0; other < row; other++) {
      const base = rows.subarray(other * n, (other + 1) * n);
      const along = dot(vector, base);
      for (let k = 0; k < n; k++) vector[k]! -= along * base[k]!;
    }
    const after = Math.sqrt(dot(vector, vector));
    const scale = after > 1e-6 * before ? 1 / after : 0;
    for (let k = 0; k < n; k++) vector[k]! *= scale;
  }
}

/** In four sums, so that one addition need not wait for the last. */
function dot(x: Float32Array, y: Float32Array): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const whole = x.length & ~3;
  for (let k = 0; k < whole; k += 4) {
    s0 += x[k]! * y[k]!;
    s1 += x[k + 1]! * y[k + 1]!;
    s2 += x[k + 2]! * y[k + 2]!;
    s3 += x[k + 3]! * y[k + 3]!;
  }
  for (let k = whole; k < x.length; k++) s0 += x[k]! * y[k]!;
  return s0 + s1 + (s2 + s3);
}

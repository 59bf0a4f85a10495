import { type Matrix, rowsOf, timesTransposed, transposed, zeroMatrix } from "./matrix.js";

/** Directions beyond the wanted ones that make the iteration converge, and its rounds: the last directions matter least. */
const EXTRA_DIRECTIONS = 16;
const ROUNDS = 4;
const JACOBI_SWEEPS = 6;

/** Makes rows orthonormal, in order (Gram-Schmidt, twice, which is enough). A row that depends on earlier ones becomes zero. */
function orthonormalise(rows: Matrix): void {
  const { rowCount, columnCount, values } = rows;
  for (let row = 0; row < rowCount; row++) {
    const own = values.subarray(row * columnCount, (row + 1) * columnCount);
    const before = norm(own);
    for (let pass = 0; pass < 2; pass++) {
      for (let earlier = 0; earlier < row; earlier++) {
        const other = values.subarray(earlier * columnCount, (earlier + 1) * columnCount);
        let dot = 0;
        for (let column = 0; column < columnCount; column++) dot += own[column]! * other[column]!;
        for (let column = 0; column < columnCount; column++) own[column]! -= dot * other[column]!;
      }
    }
    const after = norm(own);
    const scale = after > 1e-6 * before ? 1 / after : 0;
    for (let column = 0; column < columnCount; column++) own[column]! *= scale;
  }
}

function norm(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** Eigenvectors of a small symmetric matrix as rows, largest eigenvalue first (Jacobi rotations). */
function eigenvectors(matrix: Matrix): Matrix {
  const order = matrix.rowCount;
  const a = Float64Array.from(matrix.values);
  const v = new Float64Array(order * order);
  for (let index = 0; index < order; index++) v[index * order + index] = 1;
  for (let sweep = 0; sweep < JACOBI_SWEEPS; sweep++)
    for (let p = 0; p < order; p++) for (let q = p + 1; q < order; q++) rotate(a, v, order, p, q);
  const ranked = Array.from({ length: order }, (_, index) => index).sort(
    (x, y) => a[y * order + y]! - a[x * order + x]!,
  );
  const result = zeroMatrix(order, order);
  for (const [row, column] of ranked.entries())
    for (let index = 0; index < order; index++)
      result.values[row * order + index] = v[index * order + column]!;
  return result;
}

function rotate(a: Float64Array, v: Float64Array, order: number, p: number, q: number): void {
  const off = a[p * order + q]!;
  if (Math.abs(off) < 1e-300) return;
  const theta = (a[q * order + q]! - a[p * order + p]!) / (2 * off);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const cosine = 1 / Math.sqrt(t * t + 1);
  const sine = t * cosine;
  for (let index = 0; index < order; index++) {
    const left = a[index * order + p]!;
    const right = a[index * order + q]!;
    a[index * order + p] = cosine * left - sine * right;
    a[index * order + q] = sine * left + cosine * right;
  }
  for (let index = 0; index < order; index++) {
    const left = a[p * order + index]!;
    const right = a[q * order + index]!;
    a[p * order + index] = cosine * left - sine * right;
    a[q * order + index] = sine * left + cosine * right;
    const vLeft = v[index * order + p]!;
    const vRight = v[index * order + q]!;
    v[index * order + p] = cosine * vLeft - sine * vRight;
    v[index * order + q] = sine * vLeft + cosine * vRight;
  }
}

/**
 * The orthonormal directions along which centred `samples` vary most, as rows `[count, columns]`, most first. Works on the samples' Gram matrix
 * (block power iteration), because there are fewer samples than columns.
 */
export function principalDirections(samples: Matrix, count: number): Matrix {
  const gram = timesTransposed(samples, samples);
  const blockCount = Math.min(count + EXTRA_DIRECTIONS, samples.rowCount);
  // Any start that no direction is orthogonal to will do; this one is the same every time.
  let block = zeroMatrix(blockCount, samples.rowCount);
  block.values.forEach((_, index) => {
    const wave = Math.sin(index * 12.9898) * 43_758.5453;
    block.values[index] = wave - Math.floor(wave) - 0.5;
  });
  for (let round = 0; round < ROUNDS; round++) {
    orthonormalise(block);
    block = timesTransposed(block, gram);
  }
  orthonormalise(block);
  const small = timesTransposed(timesTransposed(block, gram), block);
  const best = timesTransposed(
    rowsOf(eigenvectors(small), 0, Math.min(count, blockCount)),
    transposed(block),
  );
  const directions = timesTransposed(best, transposed(samples));
  orthonormalise(directions);
  return directions;
}

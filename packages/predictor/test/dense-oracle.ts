/** A matrix in float64, as rows. */
export type Rows = number[][];

export const transposed = (x: Rows): Rows => x[0]!.map((_, column) => x.map((row) => row[column]!));

/** x y */
export function times(x: Rows, y: Rows): Rows {
  const columns = transposed(y);
  return x.map((row) => columns.map((column) => row.reduce((sum, value, k) => sum + value * column[k]!, 0)));
}

export const plusDiagonal = (x: Rows, value: number): Rows =>
  x.map((row, index) => row.map((each, column) => (column === index ? each + value : each)));

/** The inverse (Gauss and Jordan, pivots by rows). */
export function inverse(matrix: Rows): Rows {
  const size = matrix.length;
  const work = matrix.map((row, index) => [...row, ...row.map((_, column) => (column === index ? 1 : 0))]);
  for (let column = 0; column < size; column++) {
    let best = column;
    for (let row = column; row < size; row++)
      if (Math.abs(work[row]![column]!) > Math.abs(work[best]![column]!)) best = row;
    [work[column], work[best]] = [work[best]!, work[column]!];
    const pivot = work[column]![column]!;
    for (let k = 0; k < 2 * size; k++) work[column]![k]! /= pivot;
    for (let row = 0; row < size; row++) {
      const factor = work[row]![column]!;
      if (row !== column && factor !== 0)
        for (let k = 0; k < 2 * size; k++) work[row]![k]! -= factor * work[column]![k]!;
    }
  }
  return work.map((row) => row.slice(size));
}

/** Eigenvalues of a symmetric matrix, largest first (Jacobi's rotations). */
export function eigenvalues(matrix: Rows): number[] {
  const work = matrix.map((row) => [...row]);
  const size = work.length;
  for (let sweep = 0; sweep < 12; sweep++)
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        if (Math.abs(work[p]![q]!) < 1e-300) continue;
        const theta = 0.5 * Math.atan2(2 * work[p]![q]!, work[q]![q]! - work[p]![p]!);
        const [c, s] = [Math.cos(theta), Math.sin(theta)];
        for (const row of work) [row[p], row[q]] = [c * row[p]! - s * row[q]!, s * row[p]! + c * row[q]!];
        const [x, y] = [work[p]!, work[q]!];
        work[p] = x.map((value, k) => c * value - s * y[k]!);
        work[q] = x.map((value, k) => s * value + c * y[k]!);
      }
  return work.map((row, index) => row[index]!).sort((x, y) => y - x);
}

/** Dense f32 matrices, row-major. Sums are kept in double precision. */
export interface Matrix {
  readonly rowCount: number;
  readonly columnCount: number;
  readonly values: Float32Array;
}

/** A matrix of zeros. */
export function zeroMatrix(rowCount: number, columnCount: number): Matrix {
  return { rowCount, columnCount, values: new Float32Array(rowCount * columnCount) };
}

/** The rows from `begin` to before `end`, of the same memory. */
export function rowsOf(matrix: Matrix, begin: number, end: number): Matrix {
  const { columnCount, values } = matrix;
  return {
    rowCount: end - begin,
    columnCount,
    values: values.subarray(begin * columnCount, end * columnCount),
  };
}

/** `a` times the transpose of `b`: every row of `a` with every row of `b`. Four rows of `b` share each load of `a`. */
export function timesTransposed(a: Matrix, b: Matrix): Matrix {
  const product = zeroMatrix(a.rowCount, b.rowCount);
  const columns = a.columnCount;
  const left = a.values;
  const right = b.values;
  const whole = b.rowCount - (b.rowCount % 4);
  for (let row = 0; row < a.rowCount; row++) {
    const at = row * columns;
    const out = row * b.rowCount;
    for (let other = 0; other < whole; other += 4) {
      const first = other * columns;
      const second = first + columns;
      const third = second + columns;
      const fourth = third + columns;
      let sum0 = 0;
      let sum1 = 0;
      let sum2 = 0;
      let sum3 = 0;
      for (let column = 0; column < columns; column++) {
        const value = left[at + column]!;
        sum0 += value * right[first + column]!;
        sum1 += value * right[second + column]!;
        sum2 += value * right[third + column]!;
        sum3 += value * right[fourth + column]!;
      }
      product.values[out + other] = sum0;
      product.values[out + other + 1] = sum1;
      product.values[out + other + 2] = sum2;
      product.values[out + other + 3] = sum3;
    }
    for (let other = whole; other < b.rowCount; other++) {
      let sum = 0;
      for (let column = 0; column < columns; column++)
        sum += left[at + column]! * right[other * columns + column]!;
      product.values[out + other] = sum;
    }
  }
  return product;
}

/** The transposed matrix. */
export function transposed(matrix: Matrix): Matrix {
  const { rowCount, columnCount, values } = matrix;
  const result = zeroMatrix(columnCount, rowCount);
  for (let row = 0; row < rowCount; row++)
    for (let column = 0; column < columnCount; column++)
      result.values[column * rowCount + row] = values[row * columnCount + column]!;
  return result;
}

/** Mean of each column. */
export function columnMeans(matrix: Matrix): Float64Array {
  const { rowCount, columnCount, values } = matrix;
  const means = new Float64Array(columnCount);
  for (let row = 0; row < rowCount; row++)
    for (let column = 0; column < columnCount; column++)
      means[column]! += values[row * columnCount + column]! / rowCount;
  return means;
}

/** A copy with `means` taken from every row. */
export function centred(matrix: Matrix, means: Float64Array): Matrix {
  const { rowCount, columnCount } = matrix;
  const values = matrix.values.map((value, index) => value - means[index % columnCount]!);
  return { rowCount, columnCount, values };
}

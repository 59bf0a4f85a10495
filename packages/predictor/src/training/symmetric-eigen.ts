/** Eigenvalues of a symmetric matrix, in no order, and orthonormal eigenvectors as rows `[rowCount, rowCount]`. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

/** Steps of the iteration per eigenvalue, at most; two or three are usual. */
const STEPS_MAX = 60;

/** Eigenvalues and eigenvectors of a symmetric `[rowCount, rowCount]` matrix: Householder's tridiagonal form, then implicit QL steps. About 9 rowCount³ operations. */
export function symmetricEigen(matrix: ArrayLike<number>, rowCount: number): Eigen {
  const work = Float64Array.from(matrix);
  const vectors = new Float64Array(rowCount * rowCount);
  for (let k = 0; k < rowCount; k++) vectors[k * rowCount + k] = 1;
  const below = new Float64Array(rowCount);
  for (let column = 0; column + 1 < rowCount; column++)
    below[column] = reflect(work, vectors, rowCount, column);
  const values = Float64Array.from({ length: rowCount }, (_, k) => work[k * rowCount + k]!);
  for (let index = 0; index < rowCount; index++) {
    for (let step = 0; step < STEPS_MAX; step++) {
      const end = blockEnd(values, below, index);
      if (end === index) break;
      qlStep(values, below, vectors, index, end);
    }
  }
  return { values, vectors };
}

/** Reflects what is below the diagonal of a column onto its first element, from both sides, and the rows of `vectors`. Returns that element. */
function reflect(work: Float64Array, vectors: Float64Array, rowCount: number, column: number): number {
  const first = column + 1;
  const normal = Float64Array.from(
    { length: rowCount - first },
    (_, k) => work[(first + k) * rowCount + column]!,
  );
  const length = Math.sqrt(normal.reduce((sum, value) => sum + value * value, 0));
  const reflected = normal[0]! > 0 ? -length : length;
  normal[0]! -= reflected;
  const squares = normal.reduce((sum, value) => sum + value * value, 0);
  if (squares === 0 || length === 0) return normal[0]! + reflected;
  const factor = 2 / squares;
  const rest = rowCount - first;
  const images = new Float64Array(rest);
  let along = 0;
  for (let row = 0; row < rest; row++) {
    const from = (first + row) * rowCount + first;
    let sum = 0;
    for (let k = 0; k < rest; k++) sum += work[from + k]! * normal[k]!;
    images[row] = factor * sum;
    along += images[row]! * normal[row]!;
  }
  for (let row = 0; row < rest; row++) images[row]! -= 0.5 * factor * along * normal[row]!;
  for (let row = 0; row < rest; row++) {
    const from = (first + row) * rowCount + first;
    for (let k = 0; k < rest; k++) work[from + k]! -= normal[row]! * images[k]! + images[row]! * normal[k]!;
  }
  const sums = new Float64Array(rowCount);
  for (let row = 0; row < rest; row++)
    for (let k = 0; k < rowCount; k++) sums[k]! += normal[row]! * vectors[(first + row) * rowCount + k]!;
  for (let row = 0; row < rest; row++)
    for (let k = 0; k < rowCount; k++)
      vectors[(first + row) * rowCount + k]! -= factor * normal[row]! * sums[k]!;
  return reflected;
}

/** Where the part of the tridiagonal matrix that begins at `index` ends: at the next element beside the diagonal that is as good as 0. */
function blockEnd(values: Float64Array, below: Float64Array, index: number): number {
  for (let end = index; end + 1 < values.length; end++) {
    const near = Math.abs(values[end]!) + Math.abs(values[end + 1]!);
    if (Math.abs(below[end]!) <= Number.EPSILON * near) return end;
  }
  return values.length - 1;
}

/** One implicit QL step with Wilkinson's shift on the part from `begin` to `end`. */
function qlStep(
  values: Float64Array,
  below: Float64Array,
  vectors: Float64Array,
  begin: number,
  end: number,
): void {
  const ratio = (values[begin + 1]! - values[begin]!) / (2 * below[begin]!);
  const root = Math.hypot(ratio, 1);
  let bulge = values[end]! - values[begin]! + below[begin]! / (ratio + (ratio < 0 ? -root : root));
  let [sine, cosine, shift] = [1, 1, 0];
  for (let index = end - 1; index >= begin; index--) {
    const turned = sine * below[index]!;
    const kept = cosine * below[index]!;
    const length = Math.hypot(turned, bulge);
    below[index + 1] = length;
    if (length === 0) {
      values[index + 1]! -= shift;
      below[end] = 0;
      return;
    }
    sine = turned / length;
    cosine = bulge / length;
    const moved = values[index + 1]! - shift;
    const mixed = (values[index]! - moved) * sine + 2 * cosine * kept;
    shift = sine * mixed;
    values[index + 1] = moved + shift;
    bulge = cosine * mixed - kept;
    rotateRows(vectors, values.length, index, sine, cosine);
  }
  values[begin]! -= shift;
  below[begin] = bulge;
  below[end] = 0;
}

function rotateRows(
  vectors: Float64Array,
  rowCount: number,
  index: number,
  sine: number,
  cosine: number,
): void {
  const [row, next] = [index * rowCount, (index + 1) * rowCount];
  for (let k = 0; k < rowCount; k++) {
    const [x, y] = [vectors[row + k]!, vectors[next + k]!];
    vectors[next + k] = sine * x + cosine * y;
    vectors[row + k] = cosine * x - sine * y;
  }
}

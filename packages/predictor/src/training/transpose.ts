/** Edge of the squares that are transposed at once: two of them fit in the first-level cache. */
const EDGE = 32;

/** target[c, r] = source[r, c]; both row-major, `[rowCount, columnCount]` and its transpose. They must not overlap. */
export function transposeInto(
  source: Float32Array,
  rowCount: number,
  columnCount: number,
  target: Float32Array,
): void {
  for (let rowBegin = 0; rowBegin < rowCount; rowBegin += EDGE) {
    const rowEnd = Math.min(rowCount, rowBegin + EDGE);
    for (let columnBegin = 0; columnBegin < columnCount; columnBegin += EDGE) {
      const columnEnd = Math.min(columnCount, columnBegin + EDGE);
      for (let column = columnBegin; column < columnEnd; column++) {
        const to = column * rowCount;
        for (let row = rowBegin; row < rowEnd; row++) target[to + row] = source[row * columnCount + column]!;
      }
    }
  }
}

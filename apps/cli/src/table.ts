/**
 * A table as lines of text, two spaces between columns.
 *
 * @param leftCount - columns that are aligned to the left; the others hold numbers.
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  leftCount = 1,
): string[] {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column < leftCount ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join("  ")
      .trimEnd();
  return [line(head), ...rows.map(line)];
}

/** Milliseconds for people: tenths where they count. */
export const formatMs = (value: number): string => value.toFixed(value < 100 ? 1 : 0);

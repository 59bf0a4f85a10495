/**
 * Counts of a vitest JSON report. A file that does not load, an unhandled error and a missing report are failures
 * even where no single test failed.
 */
export function countTests(report, exitCode) {
  if (report === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
  ).length;
  const failed = report.numFailedTests + brokenFiles;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** Sum over rows of counts. */
export function sumCounts(rows) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const row of rows) for (const key of Object.keys(total)) total[key] += row[key];
  return total;
}

/** The line that ends a run; its form is fixed because programs read it. */
export function closingLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** Counts of the last closing line of an output, or undefined where there is none. */
export function readClosingLine(output) {
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)].at(-1);
  if (found === undefined) return undefined;
  const [passed, failed, skipped] = found.slice(1).map(Number);
  return { passed, failed, skipped };
}

/** Table of checks for people. */
export function tableOf(rows) {
  const titleWidth = Math.max(5, ...rows.map((row) => row.title.length));
  const line = (title, passed, failed, skipped, time) =>
    `${title.padEnd(titleWidth)}  ${[passed, failed, skipped, time].map((cell) => String(cell).padStart(8)).join("")}`;
  const body = rows.map((row) =>
    line(row.title, row.passed, row.failed, row.skipped, `${(row.elapsedMs / 1000).toFixed(1)} s`),
  );
  return [line("check", "passed", "failed", "skipped", "time"), ...body].join("\n");
}

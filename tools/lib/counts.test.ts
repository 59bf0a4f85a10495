import { describe, expect, test } from "vitest";
// @ts-expect-error -- a plain script without declarations
import { firstExample, workspaceDependencies } from "../pack-smoke/readme-example.mjs";
// @ts-expect-error -- a plain script without declarations
import { closingLine, countTests, readClosingLine, sumCounts, tableOf } from "./counts.mjs";

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((each) => ({ status: each })),
});
const report = (passed: number, failed: number, pending: number, testResults: unknown[]) => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: pending,
  numTodoTests: 0,
  testResults,
});

describe("counts", () => {
  test("takes the report's numbers", () => {
    const counts = countTests(
      report(2, 1, 3, [file("failed", "passed", "failed"), file("passed", "passed")]),
      1,
    );
    expect(counts).toEqual({ passed: 2, failed: 1, skipped: 3 });
  });

  test("a file that does not load is a failure", () => {
    expect(countTests(report(2, 0, 0, [file("failed"), file("passed", "passed")]), 1)).toMatchObject({
      failed: 1,
    });
  });

  test("an exit code without a failed test is a failure, and so is no report", () => {
    expect(countTests(report(2, 0, 0, [file("passed", "passed")]), 1)).toMatchObject({ failed: 1 });
    expect(countTests(undefined, 0)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  test("the closing line", () => {
    const rows = [
      { title: "a", passed: 1, failed: 0, skipped: 2, elapsedMs: 5 },
      { title: "b", passed: 3, failed: 1, skipped: 0, elapsedMs: 1500 },
    ];
    expect(closingLine(sumCounts(rows))).toBe("4 passed, 1 failed, 2 skipped");
    expect(tableOf(rows).split("\n")).toHaveLength(3);
  });

  test("the closing line is read again, also where something follows it", () => {
    const counts = { passed: 4, failed: 1, skipped: 2 };
    const output = `1 passed, 0 failed, 0 skipped\n\n${closingLine(counts)}\nnpm notice\n`;
    expect(readClosingLine(output)).toEqual(counts);
    expect(readClosingLine("it ended early")).toBeUndefined();
  });
});

describe("pack smoke", () => {
  test("takes the first js block and no other", () => {
    expect(firstExample("```sh\nls\n```\n\n```js\nfirst();\n```\n\n```js\nsecond();\n```\n")).toBe(
      "first();\n",
    );
    expect(firstExample("```json\n{}\n```\n")).toBeUndefined();
  });

  test("finds own dependencies through others", () => {
    const manifests = new Map([
      ["app", { dependencies: { middle: "1", outside: "1" } }],
      ["middle", { dependencies: { base: "1" } }],
      ["base", {}],
    ]);
    expect(workspaceDependencies("app", manifests)).toEqual(["base", "middle"]);
  });
});

import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { run } from "../lib/shell.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";

const PROPERTY_RUNS = 3000;
const FOLDER = join(ROOT, "packages/flash-io");

async function everyByteOnce() {
  process.env.FLASHLM_PROPERTY_RUNS = String(PROPERTY_RUNS);
  try {
    const { report, code } = await vitestReport(["packages/flash-io/test/planned-bytes"]);
    const { passed, failed } = countTests(report, code);
    return passed > 0 && failed === 0;
  } finally {
    delete process.env.FLASHLM_PROPERTY_RUNS;
  }
}

/** Rows of the bench, and its closing object. */
async function benchPlanner() {
  const env = { UV_THREADPOOL_SIZE: "32" };
  const { output } = await run(process.execPath, ["bench/planner.mjs", "--json"], { cwd: FOLDER, env });
  process.stderr.write(output.replace(/^\{.*\}$/m, ""));
  const line = output.split("\n").findLast((candidate) => candidate.startsWith("{"));
  if (line === undefined) throw new Error(`bench/planner.mjs printed no result:\n${output.slice(-2000)}`);
  return JSON.parse(line);
}

async function plannedReadsPay() {
  const isExact = await everyByteOnce();
  const { backend, slowerCount, meanGain, gains, rows } = await benchPlanner();
  const ok = isExact && slowerCount === 0 && meanGain > 1;
  return {
    ok,
    figure:
      `every byte exactly once in ${isExact ? "" : "NOT "}all of ${PROPERTY_RUNS} random cases; ` +
      `planned reads (${backend}) slower in ${slowerCount} of ${rows.length} rows, ` +
      `${meanGain.toFixed(2)} times as fast as record by record (${gains.map((gain) => gain.toFixed(2)).join(" to ")} by row)`,
  };
}

/** What the read planner gains. */
export const points = [
  {
    name: "flash-io.3",
    title: "planned reads lose no byte and are never slower than record by record",
    heavy: true,
    run: plannedReadsPay,
  },
];

import { BootstrapError, ensureWorkspace } from "./bootstrap.mjs";
import { closingLine, countTests, sumCounts, tableOf } from "./lib/counts.mjs";
import { vitestReport } from "./lib/vitest-report.mjs";
import { pnpm, runBin } from "./lib/workspace.mjs";
import { packSmoke } from "./pack-smoke/pack-smoke.mjs";

/** A check that is one pass or one failure, whatever it looks at. */
async function single(running) {
  const { code, output } = await running;
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0, log: output };
}

async function unitTests() {
  const { report, code, output } = await vitestReport();
  return { ...countTests(report, code), log: output };
}

async function bootstrap() {
  try {
    await ensureWorkspace();
    return { passed: 1, failed: 0, skipped: 0, log: "" };
  } catch (error) {
    if (!(error instanceof BootstrapError)) throw error;
    return { passed: 0, failed: 1, skipped: 0, log: `${error.log}\n${error.message}` };
  }
}

const turbo = (task) => pnpm(["exec", "turbo", "run", task, "--continue", "--output-logs=errors-only"]);

/** In order; `needed` ends the run when it fails, because nothing after it could say anything. */
const CHECKS = [
  { title: "install and build", needed: true, run: bootstrap },
  { title: "lint", run: () => single(runBin("biome", ["check", "--max-diagnostics=50", "."])) },
  { title: "types of packages", run: () => single(turbo("typecheck")) },
  { title: "types of tools", run: () => single(runBin("tsc", ["--noEmit", "-p", "tools/tsconfig.json"])) },
  { title: "tests (with tidy)", run: unitTests },
  { title: "packages alone", run: packSmoke },
  { title: "API docs", run: () => single(runBin("typedoc", [])) },
];

async function runChecks() {
  const rows = [];
  for (const check of CHECKS) {
    process.stderr.write(`flashlm: ${check.title} ...\n`);
    const startedMs = Date.now();
    const result = await check.run();
    rows.push({ title: check.title, ...result, elapsedMs: Date.now() - startedMs });
    if (result.failed > 0)
      process.stdout.write(`\n---- ${check.title} failed ----\n${result.log.trimEnd()}\n----\n`);
    if (result.failed > 0 && check.needed) break;
  }
  return rows;
}

const rows = await runChecks();
const total = sumCounts(rows);
process.exitCode = total.failed > 0 ? 1 : 0;
process.stdout.write(`\n${tableOf(rows)}\n\n${closingLine(total)}\n`);

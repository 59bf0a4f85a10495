import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runBin } from "./workspace.mjs";

/** Runs vitest over all projects, or over the files that `filters` name, with `env` added; resolves with its JSON report, exit code and output. */
export async function vitestReport(filters = [], env = {}) {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-vitest-"));
  try {
    const reportPath = join(folder, "report.json");
    const args = ["run", ...filters, "--reporter=dot", "--reporter=json", `--outputFile.json=${reportPath}`];
    const { code, output } = await runBin("vitest", args, { env: { NO_COLOR: "1", ...env } });
    const report = existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, "utf8")) : undefined;
    return { report, code, output };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

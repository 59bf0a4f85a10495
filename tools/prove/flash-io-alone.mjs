import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { flashlmCommand, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { run } from "../lib/shell.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";
import { packSmoke } from "../pack-smoke/pack-smoke.mjs";

/** The backend that `auto` takes on this machine. */
async function bestBackend() {
  const program = `import { openFlashReader } from "@flashlm/flash-io";
    const reader = await openFlashReader([]);
    console.log("backend " + reader.capabilities.backend);
    await reader.close();`;
  const args = ["--input-type=module", "-e", program];
  const { output } = await run(process.execPath, args, { cwd: join(ROOT, "packages/flash-io") });
  return /^backend (\S+)$/m.exec(output)?.[1] ?? `none (${output})`;
}

/** What the `mode:` line of a short run says of the reader. */
async function engineReader() {
  const flags = ["--memory", "60%", "--max-tokens", "4", "--temperature", "0"];
  const [program, args] = flashlmCommand(["run", MODELS.smollm2, "What is gravity?", ...flags]);
  const { code, output } = await run(program, args, { env: PROOF_ENV });
  const said = /^mode: .*\breader (\w+)/m.exec(output)?.[1];
  return code === 0 && said !== undefined ? said : `none (exit code ${code}: ${output.slice(-500)})`;
}

async function worksAlone() {
  const alone = await packSmoke(["@flashlm/flash-io"]);
  const { report, code } = await vitestReport(["packages/flash-io/test/conformance.test.ts"]);
  const tests = countTests(report, code);
  const best = await bestBackend();
  const used = await engineReader();
  const backends = new Set(
    (report?.testResults ?? []).flatMap((file) =>
      file.assertionResults.map(
        (result) => /^FlashReader conformance: (.*)$/.exec(result.ancestorTitles[0])?.[1],
      ),
    ),
  );
  backends.delete(undefined);
  return {
    ok: alone.failed === 0 && alone.passed === 1 && tests.failed === 0 && tests.passed > 0 && used === best,
    figure:
      `installed alone, its example runs: ${alone.failed === 0 ? "yes" : alone.log}; conformance ${tests.passed} passed, ` +
      `${tests.failed} failed on ${backends.size} readers (${[...backends].join(", ")}); best reader here ${best}, the engine's mode line says ${used}`,
  };
}

/** The package by itself, and in the engine. */
export const points = [
  {
    name: "flash-io.5",
    title: "the package works alone, every reader passes the suite, and the engine uses the best one",
    heavy: true,
    run: worksAlone,
  },
];

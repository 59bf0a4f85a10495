import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { checkDecodePath, DECODE_PATH_LINES_MAX } from "../lib/decode-path.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT, readJson } from "../lib/workspace.mjs";
import { packSmoke } from "../pack-smoke/pack-smoke.mjs";

const CONTRACTS = "@flashlm/contracts";

/** Packages of ours that the runtime depends on at run time; should be the contracts alone. */
function runtimeDependencies() {
  const { dependencies = {}, peerDependencies = {} } = readJson(join(ROOT, "packages/runtime/package.json"));
  return Object.keys({ ...dependencies, ...peerDependencies }).filter((name) => name.startsWith("@flashlm/"));
}

/** Test files whose name says swap-parts. */
function swapPartsTests(folder = ROOT) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory())
      return /^(node_modules|dist|\.git|\.turbo)$/.test(entry.name) ? [] : swapPartsTests(path);
    return /^swap-parts.*\.test\.ts$/.test(entry.name) ? [path] : [];
  });
}

async function partsAreSwappable() {
  const wrong = runtimeDependencies().filter((name) => name !== CONTRACTS);
  const files = swapPartsTests().filter((path) => existsSync(path));
  const { report, code } = await vitestReport(files.length > 0 ? files : ["swap-parts"]);
  const swapped = countTests(report, code);
  const packs = await packSmoke();
  const ok = wrong.length === 0 && swapped.passed > 0 && swapped.failed === 0 && packs.failed === 0;
  const figure = [
    `runtime depends on ${wrong.length === 0 ? "no implementation" : wrong.join(", ")}`,
    `swap-parts: ${swapped.passed} passed, ${swapped.failed} failed`,
    `installed alone: ${packs.passed} of ${packs.passed + packs.failed} packages`,
  ];
  return { ok, figure: `${figure.join("; ")}${packs.log === "" ? "" : `\n${packs.log}`}` };
}

async function decodePathIsReadable() {
  const { ok, files, missing, lineCount } = checkDecodePath(ROOT);
  const absent = missing.length === 0 ? "" : `, missing: ${missing.join(", ")}`;
  return {
    ok,
    figure: `${files.length} files, ${lineCount} lines (under ${DECODE_PATH_LINES_MAX})${absent}`,
  };
}

/** Points of the foundation; add one by adding a row. */
export const points = [
  {
    name: "foundation.7",
    title: "each package installs alone, parts swap, the runtime depends on no implementation",
    heavy: true,
    run: partsAreSwappable,
  },
  {
    name: "foundation.8",
    title: "the decode path is named in order and short enough to read",
    heavy: false,
    run: decodePathIsReadable,
  },
];

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { flashlmCommand, flashlmJson, MODELS, PROOF_ENV } from "../lib/flashlm.mjs";
import { createMemoryCgroup } from "../lib/memory-cgroup.mjs";
import { run } from "../lib/shell.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";

const DEMO = [
  "run",
  MODELS.smollm2,
  "What is gravity? Answer in three sentences.",
  "--memory",
  "60%",
  "--temperature",
  "0",
  "--max-tokens",
  "160",
  "--ignore-eos",
];
const DEMO_LIMIT_S = 300;
const AGAIN_LIMIT_S = 10;
const SPEED_LEAST = 15;
const IO_TOLERANCE = 0.02;
const RUNS = 3;

/** A PATH without any compiler: links to node's tools and to everything of the system's but compilers, also where node is among them. */
function pathWithoutCompiler(folder) {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const hidden =
    /^(g\+\+|gcc|cc|c\+\+|clang|clang\+\+|c89|c99|cpp|make|cmake|ninja|ld|as)(-[\d.]+)?$|-linux-gnu-/;
  const nodeFolder = dirname(process.execPath);
  for (const source of [nodeFolder, "/usr/bin", "/bin"]) {
    for (const name of readdirSync(source)) {
      if (hidden.test(name) || (source === nodeFolder && !/^(node|npm|npx|corepack)$/.test(name))) continue;
      try {
        symlinkSync(join(source, name), join(bin, name));
      } catch {
        // The same name came from the first folder.
      }
    }
  }
  return bin;
}

async function freshClone(folder, environment, reader) {
  const clone = join(folder, "clone");
  const cloned = await run("git", ["clone", "--quiet", ROOT, clone], {});
  if (cloned.code !== 0) throw new Error(cloned.output);
  const options = { cwd: clone, env: { ...environment, FLASHLM_HOME: join(folder, "home") } };
  const first = await run("npm", ["--silent", "run", "demo"], options);
  const again = await run("npm", ["--silent", "run", "demo"], options);
  const answer = /gravity/i.test(first.output) && reader.test(first.output);
  const tests = await run("npm", ["--silent", "test"], options);
  const closing = tests.output.trimEnd().split("\n").at(-1);
  const seconds = (result) => result.elapsedMs / 1000;
  const ok =
    first.code === 0 &&
    answer &&
    again.code === 0 &&
    tests.code === 0 &&
    seconds(first) < DEMO_LIMIT_S &&
    seconds(again) < AGAIN_LIMIT_S;
  return {
    ok,
    figure: `demo ${seconds(first).toFixed(0)} s, again ${seconds(again).toFixed(1)} s, npm test: ${closing}`,
    log: ok ? "" : `${first.output.slice(-1500)}\n${tests.output.slice(-3000)}`,
  };
}

async function demoOnFreshClone() {
  const lines = [];
  let ok = true;
  for (const compiler of [true, false]) {
    const folder = mkdtempSync(join(tmpdir(), "flashlm-clone-"));
    try {
      const result = compiler
        ? await freshClone(folder, {}, /mode: .*reader (io_uring|pread)/)
        : await freshClone(
            folder,
            { PATH: pathWithoutCompiler(folder), CC: "", CXX: "" },
            /mode: kernels wasm.*reader node/,
          );
      ok &&= result.ok;
      lines.push(
        `${compiler ? "with" : "without"} a compiler: ${result.figure}${result.log ? `\n${result.log}\n` : ""}`,
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return { ok, figure: lines.join("; ") };
}

async function demoIsFastAndBounded() {
  const reports = [];
  for (let index = 0; index < RUNS; index++) reports.push((await flashlmJson(DEMO)).report);
  const speeds = reports.map((report) => report.tokensPerSecond).sort((a, b) => a - b);
  const speed = speeds[Math.floor(RUNS / 2)];
  const difference = Math.max(
    ...reports.map((report) => Math.abs(report.readBytes / report.systemReadBytes - 1)),
  );
  const plannedBytes = Math.min(...reports.map((report) => report.plannedBytes));
  const overheadBytes = Math.max(...reports.map((report) => report.overheadBytes));
  const mebibytes = (bytes) => `${(bytes / 1024 ** 2).toFixed(0)} MiB`;
  const { group, reason } = createMemoryCgroup(plannedBytes);
  let inside = { code: 1 };
  let peak = Number.NaN;
  if (group) {
    const [program, args] = flashlmCommand([...DEMO, "--json"]);
    inside = await run(...group.command(program, args), { env: PROOF_ENV });
    peak = group.peakBytes();
    if (group.killCount() > 0) inside = { code: 137 };
    group.remove();
  }
  const ok =
    speed >= SPEED_LEAST &&
    difference <= IO_TOLERANCE &&
    inside.code === 0 &&
    overheadBytes <= 200 * 1024 ** 2;
  const spread = `${speeds[0].toFixed(1)} to ${speeds.at(-1).toFixed(1)}`;
  const cgroup = group
    ? `cgroup of ${mebibytes(plannedBytes)} ended with ${inside.code}, peak ${mebibytes(peak)}`
    : `no cgroup could be made: ${reason}`;
  return {
    ok,
    figure: `${speed.toFixed(1)} tokens/s (${spread}; at least ${SPEED_LEAST}), bytes within ${(100 * difference).toFixed(2)}% of the system's, overhead ${mebibytes(overheadBytes)} (at most 200), ${cgroup}`,
  };
}

async function faultsAreTyped() {
  const { report, code } = await vitestReport([
    "packages/bundler/test",
    "packages/flash-io/test",
    "packages/runtime/test/faults",
  ]);
  const { passed, failed, skipped } = countTests(report, code);
  return { ok: failed === 0 && passed > 0, figure: `${passed} passed, ${failed} failed, ${skipped} skipped` };
}

/** How the whole behaves on a machine. */
export const points = [
  {
    name: "foundation.1",
    title: "a fresh clone shows the demo and passes its tests, with and without a compiler",
    heavy: true,
    run: demoOnFreshClone,
  },
  {
    name: "foundation.5",
    title: "the demo's speed, its memory inside a cgroup, and its bytes",
    heavy: true,
    run: demoIsFastAndBounded,
  },
  {
    name: "foundation.6",
    title: "damage, crashes and hostile files end in typed errors or a clean resume",
    heavy: false,
    run: faultsAreTyped,
  },
];

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { countTests } from "../lib/counts.mjs";
import { run } from "../lib/shell.mjs";
import { vitestReport } from "../lib/vitest-report.mjs";
import { ROOT } from "../lib/workspace.mjs";
import { findCompiler } from "../native/compiler.mjs";

const NATIVE = join(ROOT, "packages/flash-io/native");
const SOURCES = [
  "crc32c.cc",
  "event_thread.cc",
  "file_posix.cc",
  "fixed_buffers.cc",
  "pool_backend.cc",
  "read.cc",
  "read_queue.cc",
  "uring_backend.cc",
  "uring_ring.cc",
  "test/soak.cc",
];
const BUILDS = {
  plain: ["-O2"],
  address: ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  thread: ["-O1", "-g", "-fsanitize=thread"],
};
const THREADS = 2;
/** Build, backend, reads, and whether the file lies in memory: there a read costs little and faults come often. */
const RUNS = [
  ["plain", "io_uring", 5_000_000, true],
  ["plain", "pread", 5_000_000, true],
  ["plain", "io_uring", 200_000, false],
  ["plain", "pread", 200_000, false],
  ["address", "io_uring", 500_000, true],
  ["address", "pread", 500_000, true],
  ["address", "io_uring", 50_000, false],
  ["thread", "io_uring", 500_000, true],
  ["thread", "pread", 500_000, true],
  ["thread", "pread", 50_000, false],
];

async function buildAll(folder, compiler) {
  for (const [name, flags] of Object.entries(BUILDS)) {
    const sources = SOURCES.map((source) => join(NATIVE, source));
    const args = [
      "-std=c++17",
      "-pthread",
      "-DFLASH_IO_FAULTS",
      ...flags,
      ...sources,
      "-o",
      join(folder, name),
    ];
    const { code, output } = await run(compiler.path, args, {});
    if (code !== 0) throw new Error(`the soak does not build (${name}):\n${output.slice(-3000)}`);
  }
}

async function soak(folder, [build, backend, reads, inMemory]) {
  const place = inMemory && existsSync("/dev/shm") ? mkdtempSync("/dev/shm/flash-io-soak-") : folder;
  try {
    const args = [place, backend, String(reads), String(THREADS), "1"];
    const { code, output, elapsedMs } = await run(join(folder, build), args, {});
    const counts = code === 0 ? JSON.parse(output.trim().split("\n").at(-1)) : undefined;
    const title = `${build} ${backend} ${inMemory ? "in memory" : "direct"}`;
    process.stderr.write(`  ${title}: ${output.trim().slice(-600)} (${(elapsedMs / 1000).toFixed(0)} s)\n`);
    return counts;
  } finally {
    if (place !== folder) rmSync(place, { recursive: true, force: true });
  }
}

/** The same program where the system refuses io_uring, as containers do. */
async function refusedRing(folder, compiler) {
  const launcher = join(folder, "without-io-uring");
  const built = await run(
    compiler.path,
    ["-std=c++17", join(NATIVE, "test/without_io_uring.cc"), "-o", launcher],
    {},
  );
  if (built.code !== 0) throw new Error(built.output);
  const program = `import { openFlashReader } from "@flashlm/flash-io";
    const reader = await openFlashReader([process.execPath]);
    console.log(reader.capabilities.backend + ": " + reader.capabilities.note);
    const error = await openFlashReader([process.execPath], { backend: "io_uring" }).catch((cause) => cause);
    console.log(error.code);
    await reader.close();`;
  const args = [process.execPath, "--input-type=module", "-e", program];
  const { code, output } = await run(launcher, args, { cwd: join(ROOT, "packages/flash-io") });
  const lines = output.trim().split("\n");
  return {
    ok: code === 0 && /^pread: io_uring not used/.test(lines[0]) && lines[1] === "FLASH_BACKEND",
    said: lines[0],
  };
}

async function soakAll() {
  const compiler = await findCompiler();
  if (compiler === undefined)
    return { ok: false, figure: "no C++ compiler: the native code cannot be checked here" };
  const folder = mkdtempSync(join(tmpdir(), "flash-io-soak-"));
  try {
    await buildAll(folder, compiler);
    const results = [];
    for (const settings of RUNS) results.push(await soak(folder, settings));
    const sum = (name) => results.reduce((total, counts) => total + (counts?.[name] ?? 0), 0);
    const reads = RUNS.reduce((total, [, , count]) => total + count, 0);
    const bad = results.filter((counts) => counts === undefined).length;
    const refused = await refusedRing(folder, compiler);
    const { report, code } = await vitestReport(["packages/flash-io/test"]);
    const tests = countTests(report, code);
    return {
      ok:
        bad === 0 &&
        sum("wrong") === 0 &&
        sum("lost") === 0 &&
        refused.ok &&
        tests.failed === 0 &&
        tests.passed > 0,
      figure:
        `${(reads / 1e6).toFixed(1)} million reads from ${THREADS} threads by ${sum("readers")} readers closed in flight: ` +
        `${sum("landed")} landed, ${sum("failed")} failed, ${sum("short")} short, ${sum("aborted")} cancelled, ` +
        `${sum("wrong")} wrong, ${sum("lost")} lost; ${bad} of ${RUNS.length} runs ended badly (plain, address and undefined ` +
        `behaviour, thread sanitizers); io_uring refused by the system: ${refused.said}; tests ${tests.passed} passed, ${tests.failed} failed`,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** That nothing is lost or wrong when reads fail. */
export const points = [
  {
    name: "flash-io.4",
    title: "millions of reads with injected faults, under sanitizers; refusals are typed or reported",
    heavy: true,
    run: soakAll,
  },
];

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ROOT } from "../lib/workspace.mjs";

const BENCH = join(ROOT, "packages/flash-io/bench");
const FILE_BYTES = 2 * 1024 ** 3;
const DEPTH = 32;
const CHUNKS_KIB = [4, 16, 32, 64, 128, 2048];
/** Many short rounds: the shares of neighbours in time scatter by a tenth on a shared disk, which 21 rounds bring to 2 %. */
const ROUNDS = 21;
const PORTABLE_ROUNDS = 7;
const SECONDS = 1;
const NATIVE_SPEED_LEAST = 0.95;
const NATIVE_COST_MOST = 1.25;
const PORTABLE_SPEED_LEAST = { small: 0.4, large: 0.6, largeFromKib: 32 };

const BATCH_ROUNDS = 9;
const BATCHES = 600;
const BATCH_DEPTH = 128;
const BATCH_RATIO_MOST = 1.15;
const CHECKSUM_GROWTH_MOST = 0.05;

/** The bench's own modules resolve packages from their folder. */
function bench(name) {
  return import(pathToFileURL(join(BENCH, name)).href);
}

async function withDataFile(work) {
  const folder = mkdtempSync(join(tmpdir(), "flash-io-prove-"));
  try {
    const { ensureDataFile } = await bench("lib/data-file.mjs");
    const path = join(folder, "data.bin");
    ensureDataFile(path, FILE_BYTES);
    return await work(path, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

function judgeChunk(settings, contest) {
  const chunkKib = settings.chunkBytes / 1024;
  const results = contest(["fio", "io_uring"], settings, ROUNDS);
  const native = results.get("io_uring");
  const portable = contest(["fio", "node"], settings, PORTABLE_ROUNDS).get("node");
  const { small, large, largeFromKib } = PORTABLE_SPEED_LEAST;
  const least = chunkKib >= largeFromKib ? large : small;
  const ok = native.speed >= NATIVE_SPEED_LEAST && native.cost <= NATIVE_COST_MOST && portable.speed >= least;
  const fio = results.get("fio");
  process.stderr.write(
    `  ${chunkKib} KiB: fio ${fio.gibPerSecond.toFixed(2)} GiB/s at ${fio.cpuSecondsPerGib.toFixed(3)} s/GiB, ` +
      `io_uring ${native.gibPerSecond.toFixed(2)} at ${native.cpuSecondsPerGib.toFixed(3)}, ` +
      `node ${portable.gibPerSecond.toFixed(2)} at ${portable.cpuSecondsPerGib.toFixed(3)}\n`,
  );
  const figure = `${chunkKib} KiB ${percent(native.speed)} (cpu ${percent(native.cost)}), node ${percent(portable.speed)}`;
  return { ok, figure: ok ? figure : `${figure} SHORT` };
}

async function besideFio() {
  const { contest, hasFio } = await bench("lib/contest.mjs");
  if (!hasFio()) return { ok: false, figure: "fio is not installed (Debian package fio)" };
  return withDataFile((path) => {
    const judged = CHUNKS_KIB.map((chunkKib) => {
      const settings = {
        path,
        chunkBytes: chunkKib * 1024,
        depth: DEPTH,
        seconds: SECONDS,
        sequential: false,
        seed: 1,
      };
      return judgeChunk(settings, contest);
    });
    return {
      ok: judged.every((one) => one.ok),
      figure: `io_uring of fio at depth ${DEPTH} (at least 95%, cpu per GiB at most 125%): ${judged.map((one) => one.figure).join("; ")}`,
    };
  });
}

async function besideBareLoop() {
  const { buildBareLoop } = await bench("lib/bare-loop.mjs");
  const { batchCost } = await bench("batch-cost.mjs");
  return withDataFile((path, folder) => {
    const program = buildBareLoop(folder);
    const settings = {
      path,
      program,
      backend: "io_uring",
      depth: BATCH_DEPTH,
      rounds: BATCH_ROUNDS,
      batches: BATCHES,
    };
    const cost = batchCost(settings);
    // In a process of its own, as the others are, so that nothing of this one runs beside it.
    const output = execFileSync(process.execPath, [join(BENCH, "checksum.mjs"), "--file", path, "--json"], {
      encoding: "utf8",
    });
    const checksum = JSON.parse(output);
    const ok = cost.ratio <= BATCH_RATIO_MOST && checksum.growth <= CHECKSUM_GROWTH_MOST;
    return {
      ok,
      figure:
        `400 reads of 16 KiB: ${cost.readerCpuMs.toFixed(2)} ms of processor time beside ${cost.bareCpuMs.toFixed(2)} ms ` +
        `of the bare loop, ${cost.ratio.toFixed(2)} times (at most ${BATCH_RATIO_MOST}); elapsed ${cost.readerElapsedMs.toFixed(1)} and ` +
        `${cost.bareElapsedMs.toFixed(1)} ms; CRC32C by ${checksum.method} makes reading ${(100 * checksum.growth).toFixed(1)}% longer ` +
        `(at most 5%; its own time is ${(100 * checksum.share).toFixed(1)}% of the read's)`,
    };
  });
}

/** How fast files are read. */
export const points = [
  {
    name: "flash-io.1",
    title: "random reads beside fio on the same file: throughput and processor time",
    heavy: true,
    run: besideFio,
  },
  {
    name: "flash-io.2",
    title: "a batch of 400 reads beside a bare C loop over io_uring, and the checksum on arrival",
    heavy: true,
    run: besideBareLoop,
  },
];

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { median } from "./data-file.mjs";

const LOAD = fileURLToPath(new URL("./load.mjs", import.meta.url));
/** libuv's pool for the portable reader; the native ones do not use it. */
const POOL = { UV_THREADPOOL_SIZE: "32" };

/** True when fio is installed. */
export function hasFio() {
  try {
    execFileSync("fio", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** One run of fio's io_uring engine; same answer as {@link runReader}. */
export function runFio({ path, chunkBytes, depth, seconds, sequential, seed }) {
  const output = execFileSync(
    "fio",
    [
      "--name=reads",
      `--filename=${path}`,
      "--ioengine=io_uring",
      "--direct=1",
      `--rw=${sequential ? "read" : "randread"}`,
      `--bs=${chunkBytes}`,
      `--iodepth=${depth}`,
      `--runtime=${seconds}`,
      "--time_based",
      "--readonly",
      "--norandommap",
      `--randseed=${seed}`,
      "--ramp_time=0.3",
      "--output-format=json",
    ],
    { encoding: "utf8" },
  );
  const [job] = JSON.parse(output.slice(output.indexOf("{"))).jobs;
  const gibibytes = job.read.io_bytes / 2 ** 30;
  const elapsedSeconds = job.read.runtime / 1000;
  return {
    backend: "fio",
    gibPerSecond: gibibytes / elapsedSeconds,
    cpuSecondsPerGib: (((job.usr_cpu + job.sys_cpu) / 100) * elapsedSeconds) / gibibytes,
  };
}

/** One run of a reader in a process of its own: `{ backend, gibPerSecond, cpuSecondsPerGib }`. */
export function runReader(settings) {
  const output = execFileSync(process.execPath, [LOAD, JSON.stringify(settings)], {
    encoding: "utf8",
    env: { ...process.env, ...POOL },
  });
  return JSON.parse(output);
}

/**
 * Runs each contestant once per round, so that a device that changes its mind changes it for all; medians per contestant. `speed`
 * and `cost` are medians of the rounds' ratios to the first contestant, which neighbours in time make fairer than a ratio of medians.
 */
export function contest(contestants, settings, rounds) {
  const results = new Map(contestants.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    // Forwards, then backwards: what one leaves behind in the device's queues and credits must not always meet the same one.
    for (const name of round % 2 === 0 ? contestants : contestants.toReversed()) {
      const one = { ...settings, backend: name, seed: settings.seed + round };
      results.get(name).push(name === "fio" ? runFio(one) : runReader(one));
    }
  }
  const first = results.get(contestants[0]);
  const summary = (runs) => ({
    gibPerSecond: median(runs.map((run) => run.gibPerSecond)),
    cpuSecondsPerGib: median(runs.map((run) => run.cpuSecondsPerGib)),
    speed: median(runs.map((run, round) => run.gibPerSecond / first[round].gibPerSecond)),
    cost: median(runs.map((run, round) => run.cpuSecondsPerGib / first[round].cpuSecondsPerGib)),
  });
  return new Map(contestants.map((name) => [name, summary(results.get(name))]));
}

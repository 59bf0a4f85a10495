// Every backend beside fio's io_uring engine, on the same file in the same minutes: GiB/s and processor seconds per GiB.
// usage: node bench/compare-fio.mjs [--smoke] [--rounds N] [--seconds S] [--file PATH]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openFlashReader } from "@flashlm/flash-io";
import { contest, hasFio } from "./lib/contest.mjs";
import { ensureDataFile } from "./lib/data-file.mjs";

const { values } = parseArgs({
  options: {
    smoke: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    file: { type: "string" },
  },
});
const rounds = Number(values.rounds ?? (values.smoke ? 1 : 5));
const seconds = Number(values.seconds ?? (values.smoke ? 1 : 2));
const FILE_BYTES = (values.smoke ? 64 : 2048) * 1024 * 1024;
const CHUNKS_BYTES = values.smoke ? [16384] : [4096, 16384, 32768, 65536, 131072, 2097152];
const DEPTH = 32;

async function workingBackends() {
  const found = [];
  for (const backend of ["io_uring", "pread", "node"]) {
    try {
      await (await openFlashReader([], { backend })).close();
      found.push(backend);
    } catch (error) {
      console.log(`without ${backend}: ${error.message}`);
    }
  }
  return found;
}

function printContest(path, contestants, sequential) {
  for (const chunkBytes of CHUNKS_BYTES) {
    const settings = { path, chunkBytes, depth: DEPTH, seconds, sequential, seed: 1 };
    const results = contest(contestants, settings, rounds);
    for (const [name, { gibPerSecond, cpuSecondsPerGib, speed, cost }] of results) {
      const shares =
        contestants[0] === "fio" ? [`${(100 * speed).toFixed(0)}%`, `${(100 * cost).toFixed(0)}%`] : [];
      const cells = [chunkBytes, gibPerSecond.toFixed(3), cpuSecondsPerGib.toFixed(3), ...shares];
      const order = sequential ? "sequential" : "random";
      console.log(
        `${order.padEnd(10)} ${name.padEnd(9)} ${cells.map((cell) => String(cell).padStart(10)).join(" ")}`,
      );
    }
  }
}

const folder = values.file ? undefined : mkdtempSync(join(tmpdir(), "compare-fio-"));
try {
  const path = values.file ?? join(folder, "data.bin");
  ensureDataFile(path, FILE_BYTES);
  const contestants = [...(hasFio() ? ["fio"] : []), ...(await workingBackends())];
  if (contestants[0] !== "fio") console.log("fio is not installed: figures without a yardstick");
  console.log(`depth ${DEPTH}, direct; medians of ${rounds} interleaved runs of ${seconds} s`);
  console.log("order      reader       chunk_B      GiB/s  cpu_s/GiB  speed/fio    cpu/fio");
  for (const sequential of [false, true]) printContest(path, contestants, sequential);
} finally {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
}

// What a layer's misses cost: batches of 400 random reads of 16 KiB, beside a bare C loop over io_uring.
// usage: node bench/batch-cost.mjs [--smoke] [--rounds N] [--batches N] [--file PATH]
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildBareLoop, runBareLoop } from "./lib/bare-loop.mjs";
import { ensureDataFile, median } from "./lib/data-file.mjs";

const LOAD = fileURLToPath(new URL("./lib/batch-load.mjs", import.meta.url));

/**
 * Medians of interleaved runs: `{ bareCpuMs, readerCpuMs, ratio, bareElapsedMs, readerElapsedMs }`; the ratio is the median
 * of the rounds' ratios, because neighbours in time see the same machine.
 */
export function batchCost({ path, program, backend, depth, rounds, batches }) {
  const runs = [];
  for (let round = 0; round < rounds; round++) {
    const settings = { path, backend, reads: 400, chunkBytes: 16384, depth, batches, seed: round + 1 };
    const bare = runBareLoop(program, settings);
    const output = execFileSync(process.execPath, [LOAD, JSON.stringify(settings)], { encoding: "utf8" });
    runs.push({ bare, reader: JSON.parse(output) });
  }
  return {
    bareCpuMs: median(runs.map(({ bare }) => bare.cpuMs)),
    readerCpuMs: median(runs.map(({ reader }) => reader.cpuMs)),
    ratio: median(runs.map(({ bare, reader }) => reader.cpuMs / bare.cpuMs)),
    bareElapsedMs: median(runs.map(({ bare }) => bare.elapsedMs)),
    readerElapsedMs: median(runs.map(({ reader }) => reader.elapsedMs)),
  };
}

function main() {
  const { values } = parseArgs({
    options: {
      smoke: { type: "boolean", default: false },
      rounds: { type: "string" },
      batches: { type: "string" },
      file: { type: "string" },
    },
  });
  const rounds = Number(values.rounds ?? (values.smoke ? 1 : 7));
  const batches = Number(values.batches ?? (values.smoke ? 10 : 200));
  const folder = mkdtempSync(join(tmpdir(), "batch-cost-"));
  try {
    const path = values.file ?? join(folder, "data.bin");
    ensureDataFile(path, (values.smoke ? 64 : 2048) * 1024 * 1024);
    const program = buildBareLoop(folder);
    console.log("batches of 400 random reads of 16 KiB; medians of interleaved runs, milliseconds per batch");
    console.log("depth  bare cpu  reader cpu   ratio  bare elapsed  reader elapsed");
    for (const depth of [32, 128]) {
      const cost = batchCost({ path, program, backend: "io_uring", depth, rounds, batches });
      const { bareCpuMs, readerCpuMs, ratio, bareElapsedMs, readerElapsedMs } = cost;
      const cells = [bareCpuMs, readerCpuMs, ratio, bareElapsedMs, readerElapsedMs];
      console.log(
        `${String(depth).padStart(5)}  ${cells.map((cell) => cell.toFixed(2).padStart(10)).join("  ")}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();

// CRC32C on arrival: the same random reads with and without it, and its own speed.
// usage: node bench/checksum.mjs [--smoke] [--json] [--rounds N] [--file PATH]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ReadBatch } from "@flashlm/contracts";
import { loadChecksum, openFlashReader } from "@flashlm/flash-io";
import { createRandom, ensureDataFile, median } from "./lib/data-file.mjs";

const READS = 400;
const CHUNK_BYTES = 16384;

/** Elapsed milliseconds of `batches` batches whose reads are each passed to `onArrival` as they land. */
function runBatches(reader, prepared, target, batches, onArrival) {
  const started = performance.now();
  for (let turn = 0; turn < batches; turn++) {
    const pending = reader.submit(prepared[turn % prepared.length]);
    for (let index = pending.waitNext(); index !== -1; index = pending.waitNext()) {
      onArrival(target.bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES));
    }
  }
  return performance.now() - started;
}

/**
 * Medians of interleaved runs: `{ method, checksumMs, readMs, share, growth }` per batch of 400 reads of 16 KiB. `share` is the
 * checksum's own time over the time of reading without it, `growth` how much longer reading takes with it.
 */
async function checksumCost({ path, rounds, batches }) {
  const { method, crc32c } = await loadChecksum();
  const reader = await openFlashReader([path], { directIo: "required" });
  const target = reader.allocateTarget(READS * CHUNK_BYTES);
  const random = createRandom(3);
  const chunkCount = Math.floor(reader.files[0].sizeBytes / CHUNK_BYTES);
  const prepared = Array.from({ length: 20 }, () => {
    const batch = new ReadBatch(READS);
    for (let index = 0; index < READS; index++) {
      const { arenaId, offsetBytes } = target.handle;
      const place = { arenaId, offsetBytes: offsetBytes + index * CHUNK_BYTES };
      batch.push(0, Math.floor(random() * chunkCount) * CHUNK_BYTES, CHUNK_BYTES, place);
    }
    return batch;
  });
  let spentMs = 0;
  const plain = () => {};
  const checked = (bytes) => {
    const started = performance.now();
    crc32c(bytes);
    spentMs += performance.now() - started;
  };
  runBatches(reader, prepared, target, prepared.length, checked);
  const runs = [];
  for (let round = 0; round < rounds; round++) {
    const readMs = runBatches(reader, prepared, target, batches, plain) / batches;
    spentMs = 0;
    const bothMs = runBatches(reader, prepared, target, batches, checked) / batches;
    runs.push({ readMs, bothMs, checksumMs: spentMs / batches });
  }
  await reader.close();
  return {
    method,
    checksumMs: median(runs.map((run) => run.checksumMs)),
    readMs: median(runs.map((run) => run.readMs)),
    share: median(runs.map((run) => run.checksumMs / run.readMs)),
    growth: median(runs.map((run) => run.bothMs / run.readMs - 1)),
  };
}

async function main() {
  const { values } = parseArgs({
    options: {
      smoke: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      rounds: { type: "string" },
      file: { type: "string" },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "checksum-"));
  try {
    const path = values.file ?? join(folder, "data.bin");
    ensureDataFile(path, (values.smoke ? 64 : 2048) * 1024 * 1024);
    const rounds = Number(values.rounds ?? (values.smoke ? 1 : 21));
    const cost = await checksumCost({ path, rounds, batches: values.smoke ? 5 : 50 });
    if (values.json) {
      console.log(JSON.stringify(cost));
      return;
    }
    const { method, checksumMs, readMs, share, growth } = cost;
    const speed = (READS * CHUNK_BYTES) / 1e6 / checksumMs;
    console.log(
      `crc32c by ${method}: ${checksumMs.toFixed(3)} ms per batch of ${READS} x 16 KiB (${speed.toFixed(1)} GB/s), ` +
        `${(100 * share).toFixed(1)}% of reading it (${readMs.toFixed(2)} ms); with it reading takes ${(100 * growth).toFixed(1)}% longer`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();

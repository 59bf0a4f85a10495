// A load on one reader, in a process of its own so that its processor time is all of it.
// usage: load.mjs JSON -> one JSON line; JSON: { path, backend, chunkBytes, depth, seconds, sequential, seed }
import { ReadBatch } from "@flashlm/contracts";
import { openFlashReader } from "@flashlm/flash-io";
import { createRandom } from "./data-file.mjs";

const { path, backend, chunkBytes, depth, seconds, sequential, seed } = JSON.parse(process.argv[2]);
/** Two batches of this many depths are out at a time: the device never waits for a batch to end. */
const DEPTHS_PER_BATCH = 4;
/** Prepared batches: drawing places is the load's work, not the reader's. */
const PREPARED = 32;
const WARM_UP_SECONDS = 0.3;

function prepareBatches(fileBytes, target) {
  const random = createRandom(seed);
  const chunkCount = Math.floor(fileBytes / chunkBytes);
  const reads = depth * DEPTHS_PER_BATCH;
  let next = Math.floor(random() * chunkCount);
  return Array.from({ length: PREPARED }, (_, turn) => {
    const batch = new ReadBatch(reads);
    for (let index = 0; index < reads; index++) {
      next = sequential ? (next + 1) % chunkCount : Math.floor(random() * chunkCount);
      // As in fio, one place in memory per read that can be in flight, here for each of the two batches.
      const slot = (turn % 2) * depth + (index % depth);
      const offsetBytes = target.handle.offsetBytes + slot * chunkBytes;
      batch.push(0, next * chunkBytes, chunkBytes, { arenaId: target.handle.arenaId, offsetBytes });
    }
    return batch;
  });
}

function runFor(reader, batches, wantedSeconds) {
  const pending = [reader.submit(batches[0]), reader.submit(batches[1])];
  const started = performance.now();
  let reads = 0;
  for (let turn = 0; performance.now() - started < wantedSeconds * 1000; turn++) {
    pending[turn & 1].waitAll();
    reads += batches[0].count;
    pending[turn & 1] = reader.submit(batches[(turn + 2) % PREPARED]);
  }
  for (const rest of pending) rest.waitAll();
  reads += 2 * batches[0].count;
  return { reads, seconds: (performance.now() - started) / 1000 };
}

const reader = await openFlashReader([path], { backend, inFlightMax: depth, directIo: "required" });
const target = reader.allocateTarget(2 * depth * chunkBytes);
const batches = prepareBatches(reader.files[0].sizeBytes, target);
runFor(reader, batches, WARM_UP_SECONDS);
const before = process.cpuUsage();
const result = runFor(reader, batches, seconds);
const { user, system } = process.cpuUsage(before);
const gibibytes = (result.reads * chunkBytes) / 2 ** 30;
process.stdout.write(
  `${JSON.stringify({
    backend: reader.capabilities.backend,
    gibPerSecond: gibibytes / result.seconds,
    cpuSecondsPerGib: (user + system) / 1e6 / gibibytes,
  })}\n`,
);
await reader.close();

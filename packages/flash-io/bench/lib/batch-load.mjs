// Batches of random reads, one at a time, in a process of its own. usage: batch-load.mjs JSON -> one JSON line
// JSON: { path, backend, reads, chunkBytes, depth, batches, seed }
import { ReadBatch } from "@flashlm/contracts";
import { openFlashReader } from "@flashlm/flash-io";
import { createRandom } from "./data-file.mjs";

const { path, backend, reads, chunkBytes, depth, batches, seed } = JSON.parse(process.argv[2]);
/** Prepared batches, so that drawing places is not measured; run once before, so that compiling is not either. */
const PREPARED = 40;

const reader = await openFlashReader([path], { backend, inFlightMax: depth, directIo: "required" });
const target = reader.allocateTarget(reads * chunkBytes);
const random = createRandom(seed);
const chunkCount = Math.floor(reader.files[0].sizeBytes / chunkBytes);
const prepared = Array.from({ length: PREPARED }, () => {
  const batch = new ReadBatch(reads);
  for (let index = 0; index < reads; index++) {
    const offsetBytes = target.handle.offsetBytes + index * chunkBytes;
    const chunk = Math.floor(random() * chunkCount);
    batch.push(0, chunk * chunkBytes, chunkBytes, { arenaId: target.handle.arenaId, offsetBytes });
  }
  return batch;
});
for (const batch of prepared) reader.submit(batch).waitAll();
const before = process.cpuUsage();
const started = performance.now();
for (let turn = 0; turn < batches; turn++) reader.submit(prepared[turn % PREPARED]).waitAll();
const elapsedMs = (performance.now() - started) / batches;
const { user, system } = process.cpuUsage(before);
process.stdout.write(`${JSON.stringify({ cpuMs: (user + system) / 1000 / batches, elapsedMs })}\n`);
await reader.close();

// A worker that keeps many reads in flight into memory it shares, until someone terminates it.
import { parentPort, workerData } from "node:worker_threads";
import { ReadBatch } from "@flashlm/contracts";
import { openFlashReader } from "@flashlm/flash-io";

const { path, backend, shared } = workerData;
const reader = await openFlashReader([path], { backend });
reader.attach({ arenaId: 1, lengthBytes: shared.length, bytes: shared });
const batch = new ReadBatch(250);
for (let index = 0; index < batch.capacity; index++) {
  batch.push(0, index * 4096, 4096, { arenaId: 1, offsetBytes: index * 4096 });
}
for (let turn = 0; turn < 20; turn++) reader.submit(batch);
parentPort.postMessage("submitted");
for (;;) reader.submit(batch).waitAll();

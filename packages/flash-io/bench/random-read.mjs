// Random and sequential reads through the node reader: MB/s by chunk size. Start with UV_THREADPOOL_SIZE=32.
// usage: node bench/random-read.mjs [--smoke] [--direct required|preferred|off]
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReadBatch } from "@flashlm/contracts";
import { createNodeReader } from "@flashlm/flash-io";

const isSmoke = process.argv.includes("--smoke");
const directIo = process.argv.includes("--direct")
  ? process.argv[process.argv.indexOf("--direct") + 1]
  : "preferred";
const FILE_BYTES = (isSmoke ? 16 : 1024) * 1024 * 1024;
const RUN_BYTES_MAX = (isSmoke ? 8 : 512) * 1024 * 1024;
const RUN_READS_MAX = isSmoke ? 512 : 16384;
const CHUNKS_BYTES = [2048, 4096, 16384, 32768, 65536, 131072, 1048576];
const DEPTH = 32;
const BATCH_READS = 64;

async function writeTestFile(path) {
  const block = new Uint32Array(1024 * 256);
  const file = await open(path, "w");
  let state = 1;
  for (let written = 0; written < FILE_BYTES; written += block.byteLength) {
    for (let word = 0; word < block.length; word++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      block[word] = state;
    }
    await file.write(new Uint8Array(block.buffer));
  }
  // Written pages leave the cache's way only once they are on the device.
  await file.sync();
  await file.close();
}

function createRandom(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function measure(reader, target, chunkBytes, isRandom) {
  const random = createRandom(7);
  const chunkCount = Math.floor(FILE_BYTES / chunkBytes);
  const readCount = Math.min(chunkCount, RUN_READS_MAX, Math.floor(RUN_BYTES_MAX / chunkBytes));
  const batchReads = Math.min(BATCH_READS, Math.max(1, Math.floor(target.bytes.length / 2 / chunkBytes)));
  const batches = [new ReadBatch(batchReads), new ReadBatch(batchReads)];
  const pendings = [undefined, undefined];
  const words = new Uint32Array(target.bytes.buffer, target.bytes.byteOffset, target.bytes.length / 4);
  let checksum = 0;
  const cpuBefore = process.cpuUsage();
  const before = reader.stats();
  const started = performance.now();
  for (let next = 0, turn = 0; ; turn ^= 1) {
    const batch = batches[turn];
    // The other batch stays in flight while this one is summed and submitted again.
    if (pendings[turn] !== undefined) {
      pendings[turn].waitAll();
      for (let read = 0; read < batch.count; read++) {
        const word = batch.targetOffsetBytes[read] - target.handle.offsetBytes;
        checksum = (checksum + words[word / 4] + words[(word + chunkBytes) / 4 - 1]) >>> 0;
      }
      pendings[turn] = undefined;
    }
    batch.clear();
    for (; batch.count < batchReads && next < readCount; next++) {
      const chunk = isRandom ? Math.floor(random() * chunkCount) : next;
      const offsetBytes = target.handle.offsetBytes + (turn * batchReads + batch.count) * chunkBytes;
      batch.push(0, chunk * chunkBytes, chunkBytes, { arenaId: target.handle.arenaId, offsetBytes });
    }
    if (batch.count > 0) pendings[turn] = reader.submit(batch);
    else if (pendings[turn ^ 1] === undefined) break;
  }
  const seconds = (performance.now() - started) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const after = reader.stats();
  const cpuMicroseconds = (cpu.user + cpu.system) / readCount;
  return {
    readCount,
    megabytesPerSecond: (after.readBytes - before.readBytes) / 1e6 / seconds,
    readsPerSecond: readCount / seconds,
    cpuMicroseconds,
    checksum,
  };
}

const folder = mkdtempSync(join(tmpdir(), "flash-io-bench-"));
try {
  const path = join(folder, "data.bin");
  await writeTestFile(path);
  const reader = await createNodeReader([path], { directIo, inFlightMax: DEPTH });
  const { capabilities } = reader;
  const state = capabilities.directIo ? "device (page cache bypassed)" : `cached (${capabilities.note})`;
  console.log(
    `state ${state}; alignment ${capabilities.alignmentBytes} B; depth ${DEPTH}; pool ${process.env.UV_THREADPOOL_SIZE ?? 4}`,
  );
  console.log("order       chunk_B   reads     MB/s  reads/s  cpu_us/read  checksum");
  const target = reader.allocateTarget(64 * 1024 * 1024);
  for (const isRandom of [true, false]) {
    for (const chunkBytes of CHUNKS_BYTES) {
      const result = measure(reader, target, chunkBytes, isRandom);
      const cells = [
        chunkBytes,
        result.readCount,
        result.megabytesPerSecond.toFixed(0),
        result.readsPerSecond.toFixed(0),
        result.cpuMicroseconds.toFixed(1),
        result.checksum.toString(16).padStart(8, "0"),
      ];
      console.log(
        `${(isRandom ? "random" : "sequential").padEnd(10)} ${cells.map((cell) => String(cell).padStart(8)).join(" ")}`,
      );
    }
  }
  await reader.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

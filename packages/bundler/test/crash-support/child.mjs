// Runs one writer in a process of its own and may kill it (SIGKILL) at a given step. Steps are progress events and the
// moments before and after every call that renames, removes or replaces a file.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

const job = JSON.parse(process.argv[2]);
let stepCount = 0;
const step = () => {
  stepCount++;
  if (stepCount === job.killStep) process.kill(process.pid, "SIGKILL");
};
for (const name of ["rename", "rm", "writeFile", "mkdir"]) {
  const original = fs.promises[name];
  fs.promises[name] = async (...given) => {
    step();
    const result = await original(...given);
    step();
    return result;
  };
}
syncBuiltinESMExports();

const { hashCheckpoint, openCheckpoint, rewriteOrder, writeBundle } = await import("@flashlm/bundler");
const events = [];
let code = null;
let peakBytes = process.memoryUsage().rss;
const startBytes = peakBytes;
try {
  if (job.action === "write") {
    const checkpoint = await openCheckpoint(job.source);
    const contentHash = job.contentHash ?? (await hashCheckpoint(checkpoint.paths));
    const onProgress = (event) => {
      events.push(event.doneBytes / event.totalBytes);
      peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
      if (job.fillPath !== undefined && events.length === 2)
        fs.writeFileSync(job.fillPath, new Uint8Array(job.fillBytes));
      if (job.holdPath !== undefined && events.length === 1) {
        fs.writeFileSync(job.holdPath, "");
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, job.holdMs);
      }
      step();
    };
    await writeBundle(checkpoint, { outPath: job.outPath, dtype: job.dtype, contentHash, onProgress });
    checkpoint.close();
  } else {
    const order = job.order.map((indices) => Uint32Array.from(indices));
    const onProgress = (event) => {
      events.push(event.doneShare);
      step();
    };
    await rewriteOrder(job.outPath, { order, calibration: job.calibration, onProgress });
  }
} catch (error) {
  code = error.code ?? String(error);
}
const result = { code, stepCount, events, growthBytes: peakBytes - startBytes };
process.stdout.write(`${JSON.stringify(result)}\n`);

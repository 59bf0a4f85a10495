import { Worker } from "node:worker_threads";
import { nativeVariants } from "@flashlm/kernels";
import { expect, it } from "vitest";

/** Starts a good part of a second of products, says so, and never finishes them; ends or waits for messages. */
const STARTER = `
  const { parentPort, workerData } = require("node:worker_threads");
  import(workerData.kernels).then(async ({ createNativeKernels }) => {
    const set = await createNativeKernels({ memoryBytes: 80 * 2 ** 20, threadCount: 2 });
    const { memory } = set;
    const tokenCount = memory.allocate(4);
    memory.words(tokenCount, 1)[0] = 1;
    const base = memory.allocate(64 * 2 ** 20);
    const [source, target] = [memory.allocate(16384), memory.allocate(16384)];
    const weight = { dtype: "f32", rowCount: 4096, columnCount: 4096, base };
    const op = { op: "matmul", tokenCount, weight, source, target, accumulate: false };
    set.start(set.compile(Array.from({ length: 100 }, () => op)));
    if (workerData.stays) parentPort.on("message", () => {});
    parentPort.postMessage("started");
  });`;

it("a worker that ends between start and finish takes nobody along", async () => {
  const variants = await nativeVariants();
  if (!variants.some(({ missing }) => missing === "")) {
    // Without a compiler there is no target that starts programs.
    expect(variants).toEqual([]);
    return;
  }
  const kernels = new URL("../dist/index.js", import.meta.url).href;
  for (const stays of [true, false, true, false]) {
    const worker = new Worker(STARTER, { eval: true, workerData: { kernels, stays } });
    const ended = new Promise((resolve) => worker.once("exit", resolve));
    expect(await new Promise((resolve) => worker.once("message", resolve))).toBe("started");
    if (stays) await worker.terminate();
    expect(await ended).toBe(stays ? 1 : 0);
  }
});

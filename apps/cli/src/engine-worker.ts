import { parentPort, workerData } from "node:worker_threads";
import { openBundle } from "@flashlm/bundler";
import { createEngine, hostGenerator, stopSignal } from "@flashlm/runtime";
import { composeParts, type EngineSetup, engineOptions } from "./engine-parts.js";
import { finishOnClose, recordTrace } from "./trace-file.js";

const setup = workerData as EngineSetup;
if (!parentPort) throw new Error("the engine's file runs as a worker thread");
const stop = stopSignal(setup.stop);

await hostGenerator(parentPort, async () => {
  const bundle = await openBundle(setup.bundlePath);
  const parts = composeParts(bundle, setup.flags);
  const { trace, sparsity } = setup.flags;
  const recording = trace === undefined ? null : recordTrace(trace, bundle, sparsity, parts.cache);
  const engine = await createEngine(recording ? { ...parts, cache: recording.part } : parts, {
    ...engineOptions(setup),
    shouldStop: stop.isSet,
  });
  return recording ? finishOnClose(engine, recording) : engine;
});

import { parentPort, workerData } from "node:worker_threads";
import { openBundle } from "@flashlm/bundler";
import { createEngine, hostGenerator, stopSignal } from "@flashlm/runtime";
import { composeParts, type EngineSetup, engineOptions } from "./engine-parts.js";

const setup = workerData as EngineSetup;
if (!parentPort) throw new Error("the engine's file runs as a worker thread");
const stop = stopSignal(setup.stop);

await hostGenerator(parentPort, async () => {
  const bundle = await openBundle(setup.bundlePath);
  return createEngine(composeParts(bundle, setup.flags), { ...engineOptions(setup), shouldStop: stop.isSet });
});

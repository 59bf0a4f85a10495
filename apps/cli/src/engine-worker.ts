import { parentPort, workerData } from "node:worker_threads";
import { openBundle } from "@flashlm/bundler";
import {
  createEngine,
  createSpeculativeEngine,
  type EngineRecipe,
  hostGenerator,
  stopSignal,
} from "@flashlm/runtime";
import { composeParts, type EngineSetup, engineOptions } from "./engine-parts.js";
import { finishOnClose, recordTrace } from "./trace-file.js";

const setup = workerData as EngineSetup;
if (!parentPort) throw new Error("the engine's file runs as a worker thread");
const stop = stopSignal(setup.stop);

/** Parts and options of an engine of this thread. */
async function recipeOf(own: EngineSetup): Promise<EngineRecipe> {
  const bundle = await openBundle(own.bundlePath);
  return {
    parts: composeParts(bundle, own.flags),
    options: { ...engineOptions(own), shouldStop: stop.isSet },
  };
}

await hostGenerator(parentPort, async () => {
  const { parts, options } = await recipeOf(setup);
  if (setup.draft) return createSpeculativeEngine({ parts, options }, await recipeOf(setup.draft.setup));
  const { trace, sparsity } = setup.flags;
  const recording = trace === undefined ? null : recordTrace(trace, parts.bundle, sparsity, parts.cache);
  const engine = await createEngine(recording ? { ...parts, cache: recording.part } : parts, options);
  return recording ? finishOnClose(engine, recording) : engine;
});

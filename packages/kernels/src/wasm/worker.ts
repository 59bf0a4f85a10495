/// <reference path="./web-assembly.d.ts" />
import { parentPort, workerData } from "node:worker_threads";
import { FAILED } from "../../assembly/layout.js";
import { instantiateEach } from "./imports.js";

interface WorkerInput {
  readonly module: WebAssembly.Module;
  readonly memories: readonly WebAssembly.Memory[];
  readonly threadIndex: number;
}

const { module, memories, threadIndex } = workerData as WorkerInput;
try {
  const [first] = instantiateEach(module, memories);
  parentPort?.postMessage("ready");
  first!.work(threadIndex);
} catch (error) {
  // Thread 0 sees the word and stops waiting for this thread.
  Atomics.store(new Int32Array(memories[0]!.buffer), FAILED / 4, 1);
  throw error;
}

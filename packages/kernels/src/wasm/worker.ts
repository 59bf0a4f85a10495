/// <reference path="./web-assembly.d.ts" />
import { parentPort, workerData } from "node:worker_threads";
import { FAILED } from "../../assembly/layout.js";
import { kernelImports } from "./imports.js";

interface WorkerInput {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly threadIndex: number;
}

const { module, memory, threadIndex } = workerData as WorkerInput;
try {
  const instance = new WebAssembly.Instance(module, kernelImports(memory));
  parentPort?.postMessage("ready");
  (instance.exports.work as (thread: number) => void)(threadIndex);
} catch (error) {
  // Thread 0 sees the word and stops waiting for this thread.
  Atomics.store(new Int32Array(memory.buffer), FAILED / 4, 1);
  throw error;
}

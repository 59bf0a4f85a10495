/// <reference path="./web-assembly.d.ts" />
import { Worker } from "node:worker_threads";
import { FlashlmError } from "@flashlm/contracts";
import { READY, SERIAL, STOP } from "../../assembly/layout.js";

/** A worker runs WASM only; this keeps its heap from growing to the default of gigabytes. */
const WORKER_LIMITS = {
  maxOldGenerationSizeMb: 16,
  maxYoungGenerationSizeMb: 2,
  codeRangeSizeMb: 16,
  stackSizeMb: 1,
};

/** The last step from "ready" to the waiting loop is short; this only guards against a thread that never gets there. */
const READY_MS_MAX = 10_000;

/** Worker threads that sit in the kernels' waiting loop, on the first of the set's memories. */
export class WorkerPool {
  readonly #module: WebAssembly.Module;
  readonly #memories: readonly WebAssembly.Memory[];
  readonly #workers: Worker[] = [];

  constructor(module: WebAssembly.Module, memories: readonly WebAssembly.Memory[]) {
    this.#module = module;
    this.#memories = memories;
  }

  /** Starts workers; resolves when all are in their loop. @throws KERNEL_LOAD. */
  async start(count: number): Promise<void> {
    try {
      await Promise.all(Array.from({ length: count }, (_, index) => this.#startOne(index + 1)));
      await this.#allReady(count);
    } catch (error) {
      await this.close();
      const reason = error instanceof Error ? error.message : String(error);
      throw new FlashlmError("KERNEL_LOAD", `could not start kernel threads: ${reason}`, {}, error);
    }
  }

  /** Ends the loops and waits for the threads; idempotent. */
  async close(): Promise<void> {
    const words = new Int32Array(this.#memories[0]!.buffer);
    Atomics.store(words, STOP / 4, 1);
    Atomics.add(words, SERIAL / 4, 1);
    Atomics.notify(words, SERIAL / 4);
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()));
  }

  #startOne(threadIndex: number): Promise<void> {
    const worker = new Worker(new URL("./wasm-worker.js", import.meta.url), {
      workerData: { module: this.#module, memories: this.#memories, threadIndex },
      resourceLimits: WORKER_LIMITS,
      execArgv: [],
      env: {},
    });
    this.#workers.push(worker);
    return new Promise((resolve, reject) => {
      worker.once("message", () => {
        worker.unref();
        resolve();
      });
      worker.on("error", reject);
      worker.once("exit", (code) => reject(new Error(`a kernel thread ended with code ${code}`)));
    });
  }

  async #allReady(count: number): Promise<void> {
    const words = new Int32Array(this.#memories[0]!.buffer);
    const deadline = performance.now() + READY_MS_MAX;
    while (Atomics.load(words, READY / 4) < count) {
      if (performance.now() > deadline) throw new Error("a kernel thread did not become ready");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

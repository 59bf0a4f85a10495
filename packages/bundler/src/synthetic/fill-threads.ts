import { Worker } from "node:worker_threads";
import type { PlannedFile } from "./file-plan.js";
import type { FillJob } from "./fill-worker.js";

/** What a thread makes and writes at once: large enough that a device reaches its full speed. */
export const PIECE_BYTES: number = 8 * 2 ** 20;
/** How often progress is told. */
const PROGRESS_MS = 100;

/** Fills files, which exist, with threads that take pieces in turn. Needs 8 MiB per thread and the tables. */
export async function fillFiles(
  paths: readonly string[],
  files: readonly PlannedFile[],
  options: {
    readonly threadCount: number;
    readonly onBytes: (doneBytes: number) => void;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  const control = new Int32Array(new SharedArrayBuffer(16));
  const stop = (): void => {
    Atomics.store(control, 2, 1);
  };
  const tell = setInterval(() => {
    if (options.signal?.aborted) stop();
    options.onBytes(Atomics.load(control, 1) * 2 ** 20);
  }, PROGRESS_MS);
  const job: FillJob = { paths, files, control };
  try {
    const ends = await Promise.allSettled(
      Array.from({ length: options.threadCount }, () =>
        fillInThread(job).catch((error) => {
          stop();
          throw error;
        }),
      ),
    );
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    options.signal?.throwIfAborted();
  } finally {
    clearInterval(tell);
  }
}

function fillInThread(job: FillJob): Promise<void> {
  return new Promise((done, fail) => {
    const worker = new Worker(new URL("./fill-worker.js", import.meta.url), {
      workerData: job,
      execArgv: [],
      name: "flashlm-synth",
    });
    worker.once("message", (failure: { message: string; code: string | null } | null) => {
      if (failure === null) done();
      else
        fail(Object.assign(new Error(failure.message), failure.code === null ? {} : { code: failure.code }));
    });
    worker.once("error", fail);
    worker.once("exit", () => fail(new Error("a filling thread ended early")));
  });
}

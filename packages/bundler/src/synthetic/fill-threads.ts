import { Worker } from "node:worker_threads";
import type { PlannedFile } from "./file-plan.js";
import type { FillJob, ThreadEnd } from "./fill-job.js";
import { piecesInOrder } from "./piece-order.js";
import { PieceSlots, sharePieces } from "./piece-slots.js";

/** How often progress is told. */
const PROGRESS_MS = 100;
/** Pieces per filling thread: one to fill and one to write. */
const SLOTS_PER_THREAD = 2;
/** Threads that write: while one waits for a core, which those that fill keep busy, the device has the other's piece (`npm run prove -- paper.synth`). */
const WRITER_COUNT = 2;

/**
 * Fills files, which exist, with threads that take pieces in turn and two that write them. Needs 16 MiB per
 * filling thread and the tables.
 */
export async function fillFiles(
  paths: readonly string[],
  files: readonly PlannedFile[],
  options: {
    /** Threads that fill. */
    readonly threadCount: number;
    readonly onBytes: (doneBytes: number) => void;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  const pieces = sharePieces(SLOTS_PER_THREAD * options.threadCount);
  const slots = new PieceSlots(pieces);
  const tell = setInterval(() => {
    if (options.signal?.aborted) slots.stop();
    options.onBytes(slots.writtenBytes);
  }, PROGRESS_MS);
  const job: FillJob = { paths, files, order: piecesInOrder(files), pieces };
  const scripts = [
    ...Array<string>(options.threadCount).fill("./fill-worker.js"),
    ...Array<string>(WRITER_COUNT).fill("./write-worker.js"),
  ];
  try {
    const ends = await Promise.allSettled(
      scripts.map((script) =>
        workInThread(script, job).catch((error) => {
          slots.stop();
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

function workInThread(script: string, job: FillJob): Promise<void> {
  return new Promise((done, fail) => {
    const worker = new Worker(new URL(script, import.meta.url), {
      workerData: job,
      execArgv: [],
      name: "flashlm-synth",
    });
    worker.once("message", (end: ThreadEnd) => {
      if (end === null) done();
      else fail(Object.assign(new Error(end.message), end.code === null ? {} : { code: end.code }));
    });
    worker.once("error", fail);
    worker.once("exit", () => fail(new Error("a thread ended early")));
  });
}

import { parentPort } from "node:worker_threads";
import type { PlannedFile } from "./file-plan.js";
import type { PiecePlace } from "./piece-order.js";
import type { SharedPieces } from "./piece-slots.js";

/** What the threads that fill and write files are told; plain data. */
export interface FillJob {
  readonly paths: readonly string[];
  readonly files: readonly PlannedFile[];
  /** In the order in which they are filled. */
  readonly order: readonly PiecePlace[];
  readonly pieces: SharedPieces;
}

/** How a thread ended: null, or what went wrong. */
export type ThreadEnd = { readonly message: string; readonly code: string | null } | null;

/** Does a thread's work and tells the main thread how it ended. */
export function reportEnd(work: () => void): void {
  let end: ThreadEnd = null;
  try {
    work();
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    end = { message, code: code ?? null };
  }
  parentPort?.postMessage(end);
}

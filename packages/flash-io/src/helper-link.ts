import { Worker } from "node:worker_threads";
import { FlashlmError } from "@flashlm/contracts";
import {
  CONTROL,
  type EngineMessage,
  type HelperData,
  type HelperMessage,
  type OpenedFile,
} from "./shared-rings.js";

/** Heap of the helper: it holds a few lanes and no data, so a leak should show early. */
const HELPER_LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 } as const;
/** How long the engine blocks before it asks whether the helper still lives. */
const WAIT_ROUND_MS = 250;
/** Unanswered rounds (10 s) after which the helper counts as dead; a machine that swaps may be silent for seconds. */
const SILENT_ROUNDS_MAX = 40;

/** The engine's end of the helper thread: start, messages, signs of life. */
export class HelperLink {
  private readonly worker: Worker;
  private readonly control: Int32Array;
  private holdCount = 0;
  private silentRounds = 0;
  private lastHeartbeat = 0;
  private hasExited = false;
  private onExit: (() => void) | undefined;
  private onProgress: (() => void) | undefined;

  constructor(data: HelperData, control: Int32Array) {
    this.control = control;
    this.worker = new Worker(new URL("./node-reader-worker.js", import.meta.url), {
      workerData: data,
      resourceLimits: HELPER_LIMITS,
      execArgv: [],
      name: "flashlm-reader",
    });
    this.worker.on("exit", () => {
      this.hasExited = true;
      Atomics.store(control, CONTROL.dead, 1);
      this.onExit?.();
    });
  }

  /** Resolves when the files are open. @throws FLASH_OPEN. */
  async opened(): Promise<readonly OpenedFile[]> {
    const files = await new Promise<readonly OpenedFile[]>((resolve, reject) => {
      this.worker.on("error", (cause: Error) => {
        reject(new FlashlmError("FLASH_OPEN", `the helper thread failed: ${cause.message}`, {}, cause));
      });
      this.worker.once("exit", () => {
        reject(new FlashlmError("FLASH_OPEN", "the helper thread ended before the files were open", {}));
      });
      this.worker.on("message", (message: EngineMessage) => {
        if (message.kind === "opened") resolve(message.files);
        else if (message.kind === "refused") reject(openError(message));
        else this.onProgress?.();
      });
    });
    this.worker.unref();
    return files;
  }

  /** `onProgress` runs after completions that were asked for, `onExit` once when the helper is gone. */
  listen(onProgress: () => void, onExit: () => void): void {
    this.onProgress = onProgress;
    this.onExit = onExit;
    if (this.hasExited) onExit();
  }

  send(message: HelperMessage): void {
    this.worker.postMessage(message);
  }

  /** Rings unless the helper will look anyway: a message costs more than a read's whole bookkeeping. */
  ringDoorbell(): void {
    if (Atomics.exchange(this.control, CONTROL.doorbell, 1) === 0) this.send({ kind: "doorbell" });
  }

  /** While held, the helper keeps the process alive. */
  hold(): void {
    if (this.holdCount++ === 0) this.worker.ref();
  }

  unhold(): void {
    if (--this.holdCount === 0) this.worker.unref();
  }

  /** Blocks until the completion count differs from `seenCount` by `readCount`, or for one round. False when the helper is dead. */
  waitRound(seenCount: number, readCount: number): boolean {
    Atomics.store(this.control, CONTROL.wakeAt, (seenCount + readCount) | 0);
    const result = Atomics.wait(this.control, CONTROL.completionTail, seenCount, WAIT_ROUND_MS);
    if (result !== "timed-out" && Atomics.load(this.control, CONTROL.dead) === 0) return true;
    return this.isAlive();
  }

  private isAlive(): boolean {
    if (Atomics.load(this.control, CONTROL.dead) === 1) return false;
    const heartbeat = Atomics.load(this.control, CONTROL.heartbeat);
    if (heartbeat !== this.lastHeartbeat) this.silentRounds = 0;
    else this.silentRounds++;
    this.lastHeartbeat = heartbeat;
    this.send({ kind: "ping" });
    return this.silentRounds <= SILENT_ROUNDS_MAX;
  }

  /** Lets the helper close its files and end. */
  async close(): Promise<void> {
    if (this.hasExited) return;
    this.hold();
    const exited = new Promise<void>((resolve) => this.worker.once("exit", () => resolve()));
    this.send({ kind: "close" });
    await exited;
  }

  /** Waits for the end of a helper that refused to open its files. */
  async abandon(): Promise<void> {
    await this.worker.terminate();
  }
}

function openError(refused: Extract<EngineMessage, { kind: "refused" }>): FlashlmError {
  const { path, message, errorCode, errorNumber } = refused;
  return new FlashlmError(
    "FLASH_OPEN",
    `expected a readable regular file at ${path}, but ${message}; check the path and its permissions`,
    { path, errorCode, errno: errorNumber },
  );
}

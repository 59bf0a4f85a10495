import type { Worker } from "node:worker_threads";
import {
  FlashlmError,
  type GenerateOptions,
  type GeneratorReport,
  type TokenEvent,
  type TokenGenerator,
  type TokenId,
} from "@flashlm/contracts";
import { stopSignal } from "./host.js";
import { type HostReply, type HostRequest, unpackError } from "./messages.js";

const EMPTY_REPORT: GeneratorReport = {
  promptTokens: 0,
  promptMs: 0,
  decodeTokens: 0,
  decodeMs: 0,
  ioWaitMs: 0,
  cacheMs: 0,
  computeMs: 0,
  readBytes: 0,
  loadReadBytes: 0,
  decodeReadBytes: 0,
  recordCount: 0,
  hitCount: 0,
  decodeRecordsRead: 0,
  recordsRead: 0,
  keptNeurons: 0,
  possibleNeurons: 0,
  memory: [],
};

/**
 * A generator whose engine lives in another thread (see {@link hostGenerator}), so that the caller's event loop stays free.
 *
 * @param worker - runs a file that calls `hostGenerator(parentPort, ...)`. Ended by `close`.
 * @param stop - 4 shared bytes that the engine's `shouldStop` looks at.
 */
export async function connectGenerator(worker: Worker, stop: SharedArrayBuffer): Promise<TokenGenerator> {
  const client = new GeneratorClient(worker, stop);
  await client.ready();
  return client;
}

class GeneratorClient implements TokenGenerator {
  readonly contractVersion = 1;
  mode: Readonly<Record<string, string>> = {};
  contextLength = 0;
  readonly #worker: Worker;
  readonly #stop: ReturnType<typeof stopSignal>;
  readonly #inbox: (HostReply | { readonly kind: "died"; readonly error: Error })[] = [];
  #wake: (() => void) | null = null;
  #report: GeneratorReport = EMPTY_REPORT;
  #busy = false;
  #closed = false;

  constructor(worker: Worker, stop: SharedArrayBuffer) {
    this.#worker = worker;
    this.#stop = stopSignal(stop);
    worker.on("message", (reply: HostReply) => this.#push(reply));
    worker.on("error", (error: Error) => this.#push({ kind: "died", error }));
    worker.on("exit", (code) =>
      this.#push({
        kind: "died",
        error: new FlashlmError("ENGINE_CLOSED", `The engine's thread ended with exit code ${code}.`),
      }),
    );
  }

  async ready(): Promise<void> {
    const reply = await this.#receive();
    if (reply.kind !== "ready") throw new Error(`expected ready, got ${reply.kind}`);
    this.mode = reply.mode;
    this.contextLength = reply.contextLength;
  }

  async *generate(promptTokens: readonly TokenId[], options: GenerateOptions): AsyncIterable<TokenEvent> {
    const { signal, ...rest } = options;
    signal?.throwIfAborted();
    const onAbort = (): void => this.#stop.set();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for await (const reply of this.#request({ kind: "generate", promptTokens, options: rest }))
        if (reply.kind === "token") yield reply.event;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async evaluate(
    tokens: readonly TokenId[],
    onLogits: (rows: Float32Array, firstRow: number) => void,
  ): Promise<void> {
    for await (const reply of this.#request({ kind: "evaluate", tokens }))
      if (reply.kind === "rows") onLogits(reply.rows, reply.firstRow);
  }

  async score(tokens: readonly TokenId[]): Promise<Float64Array> {
    const found: Float64Array[] = [];
    for await (const reply of this.#request({ kind: "score", tokens }))
      if (reply.kind === "losses") found.push(reply.losses);
    return found[0] ?? new Float64Array(0);
  }

  report(): GeneratorReport {
    return this.#report;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    if (this.#busy) this.#stop.set();
    this.#closed = true;
    this.#worker.postMessage({ kind: "close" } satisfies HostRequest);
    try {
      for (let reply = await this.#receive(); reply.kind !== "end"; reply = await this.#receive());
    } catch {
      // The thread is gone already, and with it what was to be closed.
    }
    await this.#worker.terminate();
  }

  /** Sends a request and yields its replies until it ends; leaving early stops the engine and waits for it. */
  async *#request(request: HostRequest): AsyncIterable<HostReply> {
    if (this.#closed)
      throw new FlashlmError(
        "ENGINE_CLOSED",
        "Expected an open engine but it has been closed. Make a new one.",
      );
    if (this.#busy)
      throw new FlashlmError(
        "ENGINE_BUSY",
        "Expected one generation at a time but another one is running. Wait for it or make a second engine.",
      );
    this.#busy = true;
    this.#stop.clear();
    this.#worker.postMessage(request);
    let ended = false;
    try {
      for (;;) {
        const reply = await this.#receive().catch((error: unknown) => {
          ended = true;
          throw error;
        });
        if (reply.kind === "end") {
          ended = true;
          this.#report = reply.report;
          return;
        }
        yield reply;
      }
    } finally {
      if (!ended) await this.#drain();
      this.#busy = false;
    }
  }

  async #drain(): Promise<void> {
    this.#stop.set();
    try {
      for (let reply = await this.#receive(); reply.kind !== "end"; reply = await this.#receive());
    } catch {
      // Stopped as asked: the engine answers ENGINE_ABORTED.
    }
  }

  #push(reply: HostReply | { kind: "died"; error: Error }): void {
    this.#inbox.push(reply);
    this.#wake?.();
  }

  async #receive(): Promise<HostReply> {
    while (this.#inbox.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const reply = this.#inbox.shift()!;
    if (reply.kind === "died") throw reply.error;
    if (reply.kind === "error") throw unpackError(reply.error);
    return reply;
  }
}

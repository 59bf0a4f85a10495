import type { MessagePort } from "node:worker_threads";
import type { TokenGenerator } from "@flashlm/contracts";
import { type HostReply, type HostRequest, packError } from "./messages.js";

/**
 * Serves a generator to the thread at the other end of `port`, one request at a time. While the engine works it does not
 * return to the event loop, so the caller stops it through a shared word: see {@link stopSignal}.
 */
export async function hostGenerator(port: MessagePort, create: () => Promise<TokenGenerator>): Promise<void> {
  const send = (reply: HostReply, transfer: ArrayBuffer[] = []): void => port.postMessage(reply, transfer);
  let generator: TokenGenerator;
  try {
    generator = await create();
  } catch (error) {
    send({ kind: "error", error: packError(error) });
    return;
  }
  port.on("message", async (request: HostRequest) => {
    try {
      await serve(generator, request, send);
      send({ kind: "end", report: generator.report() });
    } catch (error) {
      send({ kind: "error", error: packError(error) });
    }
    if (request.kind === "close") port.close();
  });
  send({ kind: "ready", mode: generator.mode, contextLength: generator.contextLength });
}

async function serve(
  generator: TokenGenerator,
  request: HostRequest,
  send: (reply: HostReply, transfer?: ArrayBuffer[]) => void,
): Promise<void> {
  if (request.kind === "generate") {
    for await (const event of generator.generate(request.promptTokens, request.options))
      send({ kind: "token", event });
  } else if (request.kind === "evaluate") {
    await generator.evaluate(request.tokens, (rows, firstRow) => {
      const copy = rows.slice();
      send({ kind: "rows", rows: copy, firstRow }, [copy.buffer as ArrayBuffer]);
    });
  } else if (request.kind === "score") {
    send({ kind: "losses", losses: await generator.score(request.tokens) });
  } else {
    await generator.close();
  }
}

/** A request to stop that two threads share. */
export interface StopSignal {
  /** Asks the engine to stop. */
  set(): void;
  /** Takes the request back; done before each piece of work. */
  clear(): void;
  /** Whether the engine is asked to stop. */
  isSet(): boolean;
}

/**
 * A word shared between threads: the client sets it, the engine looks at it between layers.
 *
 * @param shared - at least 4 bytes; its first word is used, 1 means stop.
 */
export function stopSignal(shared: SharedArrayBuffer): StopSignal {
  const word = new Int32Array(shared, 0, 1);
  return {
    set: () => void Atomics.store(word, 0, 1),
    clear: () => void Atomics.store(word, 0, 0),
    isSet: () => Atomics.load(word, 0) === 1,
  };
}

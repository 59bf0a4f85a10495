import { closeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { type OpenHandle, OpenRefusal, openForReading } from "./direct-open.js";
import { HelperReads } from "./helper-reads.js";
import { allocatePages } from "./page-memory.js";
import {
  CONTROL,
  type EngineMessage,
  type HelperData,
  type HelperMessage,
  openSharedRings,
} from "./shared-rings.js";

const PROBE_BYTES = 65536;

function send(message: EngineMessage): void {
  parentPort?.postMessage(message);
}

function openAll(data: HelperData): readonly OpenHandle[] | undefined {
  const probe = allocatePages(PROBE_BYTES);
  const files: OpenHandle[] = [];
  try {
    for (const path of data.paths) files.push(openForReading(path, data.directIo, probe));
    return files;
  } catch (error) {
    for (const file of files) closeSync(file.descriptor);
    if (!(error instanceof OpenRefusal)) throw error;
    const { path, message, errorCode, errorNumber } = error;
    send({ kind: "refused", path, message, errorCode, errorNumber });
    return undefined;
  }
}

function serve(data: HelperData): void {
  const rings = openSharedRings(data.rings);
  process.on("exit", () => {
    // An engine that sits in Atomics.wait hears of this through memory only.
    Atomics.store(rings.control, CONTROL.dead, 1);
    Atomics.notify(rings.control, CONTROL.completionTail);
  });
  const files = openAll(data);
  if (files === undefined) return;
  const reads = new HelperReads(rings, files, data.inFlightMax, () => send({ kind: "progress" }));
  parentPort?.on("message", (message: HelperMessage) => {
    if (message.kind === "attach") reads.attach(message.arenaIndex, message.bytes);
    else if (message.kind === "doorbell") reads.pump();
    else if (message.kind === "ping") Atomics.add(rings.control, CONTROL.heartbeat, 1);
    else {
      for (const file of files) closeSync(file.descriptor);
      parentPort?.close();
    }
  });
  send({
    kind: "opened",
    files: files.map(({ path, sizeBytes, alignmentBytes, note }) => ({
      path,
      sizeBytes,
      alignmentBytes,
      note,
    })),
  });
}

serve(workerData as HelperData);

import { type BundleIndex, FlashlmError } from "@flashlm/contracts";
import { type MemoryPlan, planEngine } from "@flashlm/runtime";
import { composeParts, type EngineSetup, engineOptions } from "./engine-parts.js";
import { formatBytes, parseMemory } from "./memory-option.js";
import type { EngineFlags } from "./options.js";

/** What the engine's, the reader's and the compute threads add to the process once they run (measured with the embedded model, rounded up). */
const THREADS_OVERHEAD_BYTES = 72 * 1024 ** 2;

let firstOverheadBytes = 0;

/**
 * Bytes that the process itself needs beside its engine: Node, code, tokenizer, threads. Taken at the first call, so that what is measured or
 * run before an engine is planned does not count as the process's own.
 */
export function processOverheadBytes(): number {
  if (firstOverheadBytes === 0) firstOverheadBytes = process.memoryUsage().rss + THREADS_OVERHEAD_BYTES;
  return firstOverheadBytes;
}

/** Bytes that `--memory` leaves to an engine of this process, and those that the process itself needs. */
export function engineMemory(
  bundle: BundleIndex,
  flags: Pick<EngineFlags, "memory">,
): { readonly memoryBytes: number; readonly overheadBytes: number } {
  const option = parseMemory(flags.memory);
  const overheadBytes = processOverheadBytes();
  const limits = {
    share: () => (option.kind === "share" ? Math.floor(option.share * bundle.weightBytes) : 0),
    bytes: () => (option.kind === "bytes" ? option.bytes - overheadBytes : 0),
    max: () => Number.POSITIVE_INFINITY,
  };
  return { memoryBytes: limits[option.kind](), overheadBytes };
}

/** The plan of an engine. @throws BUDGET_TOO_SMALL in the terms of `--memory`: a number of bytes is a limit for the whole process. */
export function planWithin(bundle: BundleIndex, flags: EngineFlags, setup: EngineSetup): MemoryPlan {
  try {
    return planEngine(composeParts(bundle, flags), engineOptions(setup));
  } catch (error) {
    const option = parseMemory(flags.memory);
    if (!isTooSmall(error) || option.kind !== "bytes") throw error;
    const overheadBytes = processOverheadBytes();
    const leastBytes = option.bytes + Number(error.details.missingBytes);
    throw new FlashlmError(
      "BUDGET_TOO_SMALL",
      `Expected --memory of at least ${formatBytes(leastBytes)}, of which the process (Node, code, tokenizer, threads) takes ${formatBytes(overheadBytes)} ` +
        `and the rest is for one layer at a time, a context of ${error.details.contextLength} tokens and scratch, ` +
        `but it is ${formatBytes(option.bytes)}. Give more --memory or a shorter --context.`,
      { ...error.details, overheadBytes, leastBytes },
    );
  }
}

/** Whether a limit was refused because not even one layer at a time fits. */
export function isTooSmall(error: unknown): error is FlashlmError {
  return FlashlmError.isInstance(error) && error.code === "BUDGET_TOO_SMALL";
}

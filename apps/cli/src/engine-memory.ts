import { type BundleIndex, FlashlmError, type TokenGenerator } from "@flashlm/contracts";
import {
  createEngine,
  type EngineOptions,
  type EngineParts,
  type MemoryPlan,
  type PlanRow,
  planEngine,
} from "@flashlm/runtime";
import { composeParts, type EngineSetup, engineOptions } from "./engine-parts.js";
import { formatBytes, parseMemory } from "./memory-option.js";
import type { EngineFlags } from "./options.js";

/** What the engine's, the reader's and the compute threads add to the process once they run (measured with the embedded model, rounded up). */
const THREADS_OVERHEAD_BYTES = 72 * 1024 ** 2;

/**
 * Bytes that the process itself needs beside its engine: Node, code, tokenizer, threads. To be taken before anything else is measured or run in
 * it, which would count as the process's own.
 */
export function processOverheadBytes(): number {
  return process.memoryUsage().rss + THREADS_OVERHEAD_BYTES;
}

/** Bytes that `--memory` leaves to an engine of a process that itself, and with what else it allocates, needs `overheadBytes`. */
export function engineMemoryBytes(
  bundle: BundleIndex,
  flags: Pick<EngineFlags, "memory">,
  overheadBytes: number,
): number {
  const option = parseMemory(flags.memory);
  const limits = {
    share: () => (option.kind === "share" ? Math.floor(option.share * bundle.weightBytes) : 0),
    bytes: () => (option.kind === "bytes" ? option.bytes - overheadBytes : 0),
    max: () => Number.POSITIVE_INFINITY,
  };
  return limits[option.kind]();
}

/** A model whose process has been measured. */
export interface MeasuredProcess {
  readonly bundle: BundleIndex;
  /** What the process itself needs beside its engine, as it was when the model had been opened. */
  readonly overheadBytes: number;
  /** What the command allocates beside its engine. A limit for the whole process includes it, a share of the weights does not. */
  readonly beside?: PlanRow;
}

/** Bytes of a process that are not its engine's. */
export function besideEngineBytes({ overheadBytes, beside }: MeasuredProcess): number {
  return overheadBytes + (beside?.plannedBytes ?? 0);
}

/**
 * Refuses what does not fit a limit for the whole process; no other limit does.
 * @param rows - what is allocated at the same time, beside the process itself, when no engine runs.
 * @param advice - what makes it less.
 * @throws BUDGET_TOO_SMALL, with the rows.
 */
export function checkWithin(
  { overheadBytes }: Pick<MeasuredProcess, "overheadBytes">,
  flags: Pick<EngineFlags, "memory">,
  rows: readonly PlanRow[],
  advice: string,
): void {
  const option = parseMemory(flags.memory);
  if (option.kind !== "bytes") return;
  const leastBytes = rows.reduce((total, row) => total + row.plannedBytes, overheadBytes);
  if (leastBytes <= option.bytes) return;
  const parts = rows.map(({ owner, plannedBytes }) => `${owner} ${formatBytes(plannedBytes)}`);
  throw new FlashlmError(
    "BUDGET_TOO_SMALL",
    `Expected --memory of at least ${formatBytes(leastBytes)}, of which the process (Node, code, tokenizer, threads) takes ${formatBytes(overheadBytes)}, ` +
      `${parts.join(", ")}, but it is ${formatBytes(option.bytes)}. Give more --memory, ${advice}.`,
    {
      budgetBytes: option.bytes,
      missingBytes: leastBytes - option.bytes,
      overheadBytes,
      leastBytes,
      ...Object.fromEntries(rows.map(({ owner, plannedBytes }) => [owner, plannedBytes])),
    },
  );
}

/** The plan of an engine. @throws BUDGET_TOO_SMALL in the terms of `--memory`: a number of bytes is a limit for the whole process. */
export function planWithin(model: MeasuredProcess, flags: EngineFlags, setup: EngineSetup): MemoryPlan {
  try {
    return planEngine(composeParts(model.bundle, flags), engineOptions(setup));
  } catch (error) {
    throw inTermsOfMemory(error, model, flags);
  }
}

/** An engine in the command's own thread. @throws as `createEngine`, and BUDGET_TOO_SMALL as {@link planWithin}. */
export async function createEngineWithin(
  model: MeasuredProcess,
  flags: Pick<EngineFlags, "memory">,
  parts: EngineParts,
  options: EngineOptions,
): Promise<TokenGenerator> {
  try {
    return await createEngine(parts, options);
  } catch (error) {
    throw inTermsOfMemory(error, model, flags);
  }
}

/** A refused limit in the terms of `--memory`; any other error as it is. */
function inTermsOfMemory(
  error: unknown,
  { overheadBytes, beside }: MeasuredProcess,
  flags: Pick<EngineFlags, "memory">,
): unknown {
  const option = parseMemory(flags.memory);
  if (!isTooSmall(error) || option.kind !== "bytes") return error;
  const leastBytes = option.bytes + Number(error.details.missingBytes);
  const besideText = beside ? `, the ${beside.owner} ${formatBytes(beside.plannedBytes)}` : "";
  return new FlashlmError(
    "BUDGET_TOO_SMALL",
    `Expected --memory of at least ${formatBytes(leastBytes)}, of which the process (Node, code, tokenizer, threads) takes ${formatBytes(overheadBytes)}${besideText} ` +
      `and the rest is for one layer at a time, a context of ${error.details.contextLength} tokens and scratch, ` +
      `but it is ${formatBytes(option.bytes)}. Give more --memory or a shorter --context.`,
    {
      ...error.details,
      overheadBytes,
      leastBytes,
      ...(beside ? { [beside.owner]: beside.plannedBytes } : {}),
    },
  );
}

/** Whether a limit was refused because not even one layer at a time fits. */
export function isTooSmall(error: unknown): error is FlashlmError {
  return FlashlmError.isInstance(error) && error.code === "BUDGET_TOO_SMALL";
}

import { FlashlmError } from "@flashlm/contracts";
import { KERNEL_OVERHEAD_BYTES } from "@flashlm/kernels";
import { type EngineParts, type KernelSpeed, probeKernels, rehearse } from "@flashlm/runtime";
import { isTooSmall } from "./engine-memory.js";
import { composeParts } from "./engine-parts.js";
import { saveKernelSpeed } from "./measured-store.js";
import { formatBytes } from "./memory-option.js";
import type { EngineFlags } from "./options.js";
import type { OpenModel } from "./session.js";

/** What was measured of kernels, and what was left out, for people. */
export interface MeasuredKernels {
  readonly kernel: KernelSpeed;
  /** Null where nothing was left out. */
  readonly note: string | null;
}

/** Refuses to allocate `neededBytes` for measuring. @throws BUDGET_TOO_SMALL where they are more than `limitBytes`. */
export function checkMeasuring(neededBytes: number, limitBytes: number): void {
  if (neededBytes <= limitBytes) return;
  throw new FlashlmError(
    "BUDGET_TOO_SMALL",
    `Expected ${formatBytes(neededBytes)} of memory for measuring but --memory leaves ${formatBytes(Math.max(0, limitBytes))}. ` +
      "Give more --memory, or run flashlm plan once, which measures without a limit, and flashlm device for the disk.",
    { neededBytes, limitBytes, missingBytes: neededBytes - limitBytes },
  );
}

/**
 * Parts whose kernel sets have at most `limitBytes` of memory. Pure.
 * @throws BUDGET_TOO_SMALL from `createKernels`, before anything is allocated.
 */
export function withKernelLimit<Parts extends Pick<EngineParts, "createKernels">>(
  parts: Parts,
  limitBytes: number,
): Parts {
  return {
    ...parts,
    createKernels: async (options) => {
      checkMeasuring(options.memoryBytes, limitBytes);
      return parts.createKernels(options);
    },
  };
}

/**
 * Measures kernels and rehearses the engine, within `limitBytes` of kernel memory, and saves what was found. Where the rehearsal does not fit, it is left
 * out and nothing is saved, so that a run with more memory measures all of it.
 *
 * @throws BUDGET_TOO_SMALL where the kernels cannot be measured within the limit.
 */
export async function measureKernels(
  model: OpenModel,
  flags: EngineFlags,
  threadCount: number,
  limitBytes: number,
): Promise<MeasuredKernels> {
  const cacheDtype = flags.kvCache === "auto" ? null : flags.kvCache;
  // A rehearsal has a predictor of its own, and reads what every bundle has.
  const unlimited = composeParts(model.bundle, { ...flags, sparsity: "dense", lookAhead: "off" });
  const parts = withKernelLimit(unlimited, limitBytes);
  const kernel = await probeKernels({
    bundle: parts.bundle,
    createKernels: parts.createKernels,
    kernelOverheadBytes: KERNEL_OVERHEAD_BYTES,
    threadCount,
    cacheDtype,
    precision: flags.dots,
  });
  const options = { threadCount, precision: flags.dots, ...(cacheDtype ? { cacheDtype } : {}) };
  try {
    const speed = { ...kernel, engine: await rehearse(parts, options, kernel) };
    saveKernelSpeed(model.bundle, flags, threadCount, speed);
    return { kernel: speed, note: null };
  } catch (error) {
    if (!isTooSmall(error)) throw error;
    return { kernel, note: `engine: usual figures, not rehearsed. ${error.message}` };
  }
}

import { isBlockDtype, type WeightDtype } from "@flashlm/contracts";
import { residentDtypeOf, scaleKernelSpeed, withResidentDtype } from "@flashlm/runtime";
import { engineMemoryBytes, isTooSmall } from "./engine-memory.js";
import { type Measured, type Outlook, outlookOf } from "./forecasting.js";
import { loadKernelSpeed } from "./measured-store.js";
import type { EngineFlags } from "./options.js";
import type { OpenModel } from "./session.js";

/** What residents are compared in: a byte and a half-precision scale for each 32 weights; coarser ones cost too much quality to be proposed. */
const COARSER_DTYPE: WeightDtype = "q8_0";

/** What a model with coarser residents is expected to be like, under the memory limits of the one that there is. */
export interface ResidentOutlook {
  readonly residentDtype: WeightDtype;
  /** By limit; null where the limit is too small. */
  readonly outlooks: readonly (Outlook | null)[];
  /** What was assumed for want of a measurement. */
  readonly assumptions: readonly string[];
}

/** The limit of `flags` as bytes, which do not change with the weights as a share of them does. */
function inBytes(model: OpenModel, flags: EngineFlags): EngineFlags {
  const memoryBytes = engineMemoryBytes(model.bundle, flags, model.overheadBytes);
  if (!Number.isFinite(memoryBytes)) return flags;
  return { ...flags, memory: String(memoryBytes + model.overheadBytes) };
}

/** {@link outlookOf}, or null where the limit is too small. */
export function outlookIfAny(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  positionCount: number | null = null,
): Outlook | null {
  try {
    return outlookOf(model, flags, measured, positionCount);
  } catch (error) {
    if (isTooSmall(error)) return null;
    throw error;
  }
}

/** Forecasts the same model with coarser residents at each limit; null where they are in blocks already, or blocks do not fit them. */
export function coarserOutlook(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  memories: readonly (string | undefined)[],
  positionCount: number | null = null,
): ResidentOutlook | null {
  const { bundle } = model;
  const fits = bundle.manifest.model.hiddenSize % 32 === 0;
  if (isBlockDtype(residentDtypeOf(bundle)) || !fits) return null;
  const coarser: OpenModel = { ...model, bundle: withResidentDtype(bundle, COARSER_DTYPE) };
  const known = loadKernelSpeed(coarser.bundle, flags, measured.kernel.threadCount);
  const kernel = known ?? scaleKernelSpeed(measured.kernel, bundle, coarser.bundle);
  const own = { ...measured, kernel };
  const outlooks = memories.map((memory) => {
    const { memory: _, ...rest } = flags;
    const limited = inBytes(model, memory === undefined ? rest : { ...rest, memory });
    return outlookIfAny(coarser, limited, own, positionCount);
  });
  const assumption = `with residents in ${COARSER_DTYPE} attention and head take as much less time as they have fewer bytes (flashlm plan of such a bundle measures it)`;
  return { residentDtype: COARSER_DTYPE, outlooks, assumptions: known ? [] : [assumption] };
}

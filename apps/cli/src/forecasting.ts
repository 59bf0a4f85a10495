import { statSync } from "node:fs";
import { dirname } from "node:path";
import { type DeviceProfile, FlashlmError, type ModelDemand } from "@flashlm/contracts";
import { DEVICE_ARENA_BYTES, FILE_BYTES_MIN, measureDevice } from "@flashlm/flash-io";
import {
  forecastToken,
  type KernelSpeed,
  type LookAheadShares,
  type MemoryPlan,
  type TokenForecast,
} from "@flashlm/runtime";
import { loadDeviceProfile, profileOfReader } from "./device-store.js";
import { isTooSmall, planWithin } from "./engine-memory.js";
import { canLookAhead, choosePredictor } from "./engine-parts.js";
import { checkMeasuring, measureKernels } from "./kernel-measuring.js";
import { loadDemand, loadKernelSpeed, loadLookAhead } from "./measured-store.js";
import type { EngineFlags } from "./options.js";
import { readerFactory } from "./readers.js";
import { type OpenModel, type Session, setUpEngine } from "./session.js";

/** How long a device that has no profile is measured for a plan. */
const QUICK_MEASURE_MS = 3000;
/** Reads in flight of a backend, as `openFlashReader` chooses them. */
const IN_FLIGHT: Readonly<Record<string, number>> = { io_uring: 256 };
const IN_FLIGHT_DEFAULT = 32;

/** What was measured for a forecast. */
export interface Measured {
  readonly device: DeviceProfile;
  readonly kernel: KernelSpeed;
  readonly demand: ModelDemand | null;
  /** What became of early reads in an earlier run. */
  readonly lookAheadShares: LookAheadShares | null;
  readonly reader: { readonly inFlightMax: number; readonly alignmentBytes: number };
  /** Where the figures are from, for people. */
  readonly notes: readonly string[];
}

/** What is saved of a predictor. */
function measuredOf(model: OpenModel, sparsity: string): Pick<Measured, "demand" | "lookAheadShares"> {
  return {
    demand: sparsity === "dense" ? null : loadDemand(model.bundle, sparsity),
    lookAheadShares: loadLookAhead(model.bundle, sparsity),
  };
}

/** The same machine with what is saved of another predictor. */
export function measuredWith(model: OpenModel, measured: Measured, sparsity: string): Measured {
  return { ...measured, ...measuredOf(model, sparsity) };
}

/** What is saved of this machine and model, and how its reader reads; null for what has not been measured. */
async function loadMeasured(model: OpenModel, flags: EngineFlags, threadCount: number) {
  const { bundle } = model;
  const reader = await readerFactory(flags.reader)(bundle.filePaths);
  const { capabilities } = reader;
  const device = profileOfReader(reader);
  await reader.close();
  const kernel = loadKernelSpeed(bundle, flags, threadCount);
  return { capabilities, device, kernel, ofPredictor: measuredOf(model, flags.sparsity) };
}

/** How measuring is done. */
export interface MeasureOptions {
  /** What it may have of memory; absent: no limit. Where a rehearsal of the engine does not fit, usual figures stand for it and are not saved. */
  readonly limitBytes?: number;
  /** Whether kernels and engine are measured although they have been. */
  readonly anew?: boolean;
}

/**
 * What is saved of this machine and model, and what is not is measured now: kernels for half a second, the engine for a few, a disk without profile for three.
 *
 * @throws BUDGET_TOO_SMALL where the kernels or the disk cannot be measured within the limit.
 */
export async function measureForForecast(
  model: OpenModel,
  flags: EngineFlags,
  threadCount: number,
  { limitBytes = Number.POSITIVE_INFINITY, anew = false }: MeasureOptions = {},
): Promise<Measured> {
  const { capabilities, ofPredictor, ...saved } = await loadMeasured(model, flags, threadCount);
  const { demand } = ofPredictor;
  const savedKernel = anew ? null : saved.kernel;
  const { kernel, note } = savedKernel
    ? { kernel: savedKernel, note: null }
    : await measureKernels(model, flags, threadCount, limitBytes);
  if (!saved.device) checkMeasuring(DEVICE_ARENA_BYTES, limitBytes);
  const device = saved.device ?? (await quickProfile(model, flags));
  return {
    device,
    kernel,
    ...ofPredictor,
    reader: { inFlightMax: capabilities.inFlightMax, alignmentBytes: capabilities.alignmentBytes },
    notes: [
      `device: ${capabilities.backend} ${capabilities.directIo ? "direct" : "buffered"}, ${saved.device ? `measured ${device.measuredAt}` : "measured just now for three seconds (flashlm device measures better, once)"}`,
      `kernels: ${kernel.target} x${kernel.threadCount}, ${savedKernel ? "measured before" : "measured just now"}`,
      ...(note ? [note] : []),
      ...(demand ? [`demand: ${demand.tokenCount} tokens, ${demand.sparsity}`] : []),
    ],
  };
}

/** What is saved of this machine and model; nothing is measured. Null where the disk or the kernels have not been. */
export async function savedMeasurements(
  model: OpenModel,
  flags: EngineFlags,
  threadCount: number,
): Promise<Measured | null> {
  const { capabilities, device, kernel, ofPredictor } = await loadMeasured(model, flags, threadCount);
  const { inFlightMax, alignmentBytes } = capabilities;
  if (!device || !kernel) return null;
  return { device, kernel, ...ofPredictor, reader: { inFlightMax, alignmentBytes }, notes: [] };
}

/** A token's forecast under the memory limit and the predictor of `flags`; null where the limit is too small. `contextNeeded` as in `setUpEngine`. */
export function forecastLimit(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  positionCount: number | null = null,
  contextNeeded = 0,
): TokenForecast | null {
  return orTooSmall(() => outlookOf(model, flags, measured, positionCount, contextNeeded).forecast);
}

/** What a run is expected to be like. */
export interface Outlook {
  /** Those asked for; `lookAhead` is never "auto" where there is a choice. */
  readonly flags: EngineFlags;
  readonly plan: MemoryPlan;
  readonly overheadBytes: number;
  readonly forecast: TokenForecast;
  /** With look-ahead the other way; null where there is no choice, or the limit is too small for it. */
  readonly otherWay: TokenForecast | null;
}

/**
 * Plan and forecast under the memory limit and the predictor of `flags`. Where `--look-ahead` is left open the cheaper way is taken.
 * @throws BUDGET_TOO_SMALL.
 */
export function outlookOf(
  model: OpenModel,
  flags: EngineFlags,
  measured: Measured,
  positionCount: number | null = null,
  contextNeeded = 0,
): Outlook {
  const look = (own: EngineFlags): Outlook => {
    const setup = setUpEngine(model, own, contextNeeded);
    const plan = planWithin(model, own, setup);
    const positions = positionCount ?? Math.floor(plan.contextLength / 2);
    const forecast = forecastPlan(model, own, plan, measured, positions);
    return { flags: own, plan, overheadBytes: model.overheadBytes, forecast, otherWay: null };
  };
  if (!canLookAhead(model.bundle, flags.sparsity)) return look(flags);
  const asked = flags.lookAhead === "auto" ? "off" : flags.lookAhead;
  const first = look({ ...flags, lookAhead: asked });
  const second = orTooSmall(() => look({ ...flags, lookAhead: asked === "off" ? "on" : "off" }));
  const isSecond =
    flags.lookAhead === "auto" && second !== null && second.forecast.tokenMs < first.forecast.tokenMs;
  const [taken, left] = isSecond ? [second, first] : [first, second];
  return { ...taken, otherWay: left?.forecast ?? null };
}

function orTooSmall<Value>(make: () => Value): Value | null {
  try {
    return make();
  } catch (error) {
    if (isTooSmall(error)) return null;
    throw error;
  }
}

async function quickProfile(model: OpenModel, flags: EngineFlags): Promise<DeviceProfile> {
  const path = model.bundle.filePaths[1] ?? model.bundlePath;
  if (flags.reader === "memory") {
    throw new FlashlmError(
      "ENGINE_OPTION",
      "Expected a --reader that reads a device but it is memory, which a forecast says nothing about. Leave it out.",
    );
  }
  // A bundle too small to be measured says nothing of its disk; a file beside it does.
  const measured = statSync(path).size < FILE_BYTES_MIN ? dirname(model.bundlePath) : path;
  return measureDevice(measured, { openReader: readerFactory(flags.reader), budgetMs: QUICK_MEASURE_MS });
}

/** A token's forecast under a memory plan, with the predictor and look-ahead of `flags`. */
function forecastPlan(
  model: OpenModel,
  flags: EngineFlags,
  plan: MemoryPlan,
  measured: Measured,
  positionCount: number,
): TokenForecast {
  const predictor = choosePredictor(model.bundle, flags);
  return forecastToken({ bundle: model.bundle, plan, predictor, ...measured, positionCount });
}

/**
 * The forecast for a run that is under way, from what is saved; nothing is measured, since the run's memory is spoken for. Null where the
 * device or the kernels have not been measured: `flashlm device` and `flashlm plan` do.
 */
export function forecastSession(
  session: Session,
  model: OpenModel,
  flags: EngineFlags,
  positionCount: number,
): TokenForecast | null {
  const [backend = ""] = (session.mode.reader ?? "").split(" ");
  const [, target = "", threads = ""] = /^(\S+) x(\d+)/.exec(session.mode.kernels ?? "") ?? [];
  const kernel = loadKernelSpeed(model.bundle, flags, Number(threads));
  const device = savedProfile(model.bundle.filePaths.at(-1) ?? model.bundlePath, backend);
  if (!device || kernel?.target !== target) return null;
  const reader = {
    inFlightMax: IN_FLIGHT[backend] ?? IN_FLIGHT_DEFAULT,
    alignmentBytes: device.alignmentBytes,
  };
  const measured = { device, kernel, ...measuredOf(model, flags.sparsity), reader, notes: [] };
  return forecastPlan(model, flags, session.plan, measured, positionCount);
}

function savedProfile(path: string, backend: string): DeviceProfile | null {
  try {
    return loadDeviceProfile(path, backend);
  } catch (error) {
    if (FlashlmError.isInstance(error)) return null; // Damaged or of another version: said when the engine opened its reader.
    throw error;
  }
}

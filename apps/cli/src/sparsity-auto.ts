import { losslessChoices, type PredictorChoice, sharesKnown } from "@flashlm/predictor";
import { isTooSmall, planWithin } from "./engine-memory.js";
import { forecastLimit, measuredWith, savedMeasurements } from "./forecasting.js";
import type { EngineFlags } from "./options.js";
import { type OpenModel, setUpEngine } from "./session.js";

/** `--sparsity` that leaves the choice to the bundle and the machine. */
export const SPARSITY_AUTO = "auto";

/**
 * Replaces `--sparsity auto` by the fastest predictor that answers as the model itself, never a lossy one. Forecasts decide where the disk, the
 * kernels and the active shares have been measured; where they have not, exact prediction is taken before dense. Nothing is measured here.
 */
export async function resolveSparsity<Flags extends EngineFlags>(
  model: OpenModel,
  flags: Flags,
  contextNeeded = 0,
): Promise<Flags> {
  if (flags.sparsity !== SPARSITY_AUTO) return flags;
  const possible = losslessChoices(model.bundle.manifest)
    .map((choice) => ({ ...choice, flags: { ...flags, sparsity: choice.sparsity } }))
    .filter((choice) => canPlan(model, choice.flags, contextNeeded));
  const first = possible[0]?.flags ?? { ...flags, sparsity: "dense" };
  if (possible.length < 2) return first;
  return (await fastest(model, possible, contextNeeded)) ?? first;
}

/** The flags whose token is forecast to be shortest, or null where that cannot be said. */
async function fastest<Flags extends EngineFlags>(
  model: OpenModel,
  choices: readonly (PredictorChoice & { readonly flags: Flags })[],
  contextNeeded: number,
): Promise<Flags | null> {
  const [{ flags }] = choices as [PredictorChoice & { readonly flags: Flags }];
  const { threadCount } = setUpEngine(model, flags, contextNeeded);
  const saved = await savedMeasurements(model, flags, threadCount);
  if (!saved) return null;
  const outlooks = choices.map(({ part, sparsity, flags: own }) => {
    const measured = measuredWith(model, saved, sparsity);
    const known = measured.demand !== null || sharesKnown(model.bundle.manifest, part);
    const forecast = forecastLimit(model, own, measured, null, contextNeeded);
    return { flags: own, tokenMs: known && forecast ? forecast.tokenMs : null };
  });
  if (outlooks.some(({ tokenMs }) => tokenMs === null)) return null;
  return outlooks.reduce((best, next) => (next.tokenMs! < best.tokenMs! ? next : best)).flags;
}

function canPlan(model: OpenModel, flags: EngineFlags, contextNeeded: number): boolean {
  try {
    const setup = setUpEngine(model, flags, contextNeeded);
    planWithin(model, flags, setup);
    return true;
  } catch (error) {
    if (isTooSmall(error)) return false;
    throw error;
  }
}

import { canLookAhead } from "./engine-parts.js";
import { type Outlook, outlookOf, savedMeasurements } from "./forecasting.js";
import type { EngineFlags } from "./options.js";
import { type OpenModel, setUpEngine } from "./session.js";

/**
 * Settles `--look-ahead auto` by the cheaper forecast, where the disk and the kernels have been measured; elsewhere it stays as it is, which is with
 * look-ahead wherever there are heads. Nothing is measured here.
 * @throws BUDGET_TOO_SMALL.
 */
export async function settleLookAhead<Flags extends EngineFlags>(
  model: OpenModel,
  flags: Flags,
  contextNeeded = 0,
): Promise<Flags> {
  if (flags.lookAhead !== "auto" || !canLookAhead(model.bundle, flags.sparsity)) return flags;
  const { threadCount } = setUpEngine(model, flags, contextNeeded);
  const saved = await savedMeasurements(model, flags, threadCount);
  if (!saved) return flags;
  const outlook = outlookOf(model, flags, saved, null, contextNeeded);
  const { lookAhead } = outlook.flags;
  return { ...flags, lookAhead, ...(lookAhead === "off" ? { lookAheadReason: reasonOf(outlook) } : {}) };
}

function reasonOf({ forecast, otherWay }: Outlook): string {
  if (otherWay === null) return "no memory for its heads";
  return `forecast ${forecast.tokenMs.toFixed(2)} ms/token, ${otherWay.tokenMs.toFixed(2)} with it`;
}

import { join } from "node:path";
import { type Checkpoint, chooseDtype, isBundle, openCheckpoint, planBundleIndex } from "@flashlm/bundler";
import { FlashlmError } from "@flashlm/contracts";
import { residentDtypeOf } from "@flashlm/runtime";
import { processOverheadBytes } from "./engine-memory.js";
import { savedMeasurements } from "./forecasting.js";
import { flashlmHome } from "./home.js";
import { bundlePathOf, contentHashOf, findModel, HASHES_FILE } from "./model-path.js";
import type { EngineFlags } from "./options.js";
import { coarserOutlook, outlookIfAny } from "./resident-outlook.js";
import { type OpenModel, setUpEngine } from "./session.js";
import { resolveSparsity } from "./sparsity-auto.js";

/** Coarser residents are taken where they save at least this share of a token's time: less is within the error of a forecast, and no reason to round. */
const SAVED_SHARE_LEAST = 0.1;

type Settled = Pick<EngineFlags, "residentDtype" | "residentReason">;

/**
 * Settles `--resident-dtype auto` before a checkpoint becomes a bundle, by forecasts from the checkpoint's shapes, where the disk and the kernels have been
 * measured; elsewhere residents stay as `--dtype` has them. Nothing is written or measured here.
 * @throws ENGINE_OPTION where the model is a bundle: what it holds is fixed.
 */
export async function settleResidents<Flags extends EngineFlags>(
  model: string | undefined,
  flags: Flags,
): Promise<Flags> {
  if (flags.residentDtype !== "auto") return flags;
  const path = await findModel(model);
  if (isBundle(path)) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected --resident-dtype auto with a checkpoint but ${path} is a bundle, whose residents are stored already. Leave it out, or name the checkpoint.`,
      { path },
    );
  }
  const checkpoint = await openCheckpoint(path);
  try {
    const planned = await planModel(checkpoint, flags);
    return { ...flags, ...(await choose(planned, { ...flags, residentDtype: undefined })) };
  } finally {
    checkpoint.close();
  }
}

/** The bundle that a checkpoint would become, as far as plans and forecasts look at it. */
async function planModel(checkpoint: Checkpoint, { dtype }: EngineFlags): Promise<OpenModel> {
  const contentHash = await contentHashOf(checkpoint.paths);
  const choice = chooseDtype(checkpoint, dtype);
  const bundlePath = bundlePathOf(checkpoint, contentHash, choice);
  const index = planBundleIndex(checkpoint, choice, bundlePath, contentHash);
  // Bundles are kept on the disk of this file, which is there: the hash above has just been looked up in it.
  const bundle = { ...index, filePaths: [join(flashlmHome(), HASHES_FILE)] };
  return { bundlePath, bundle, tokenizer: null, overheadBytes: processOverheadBytes() };
}

async function choose(model: OpenModel, asked: EngineFlags): Promise<Settled> {
  const own = residentDtypeOf(model.bundle);
  const keep = (why: string): Settled => ({
    residentDtype: undefined,
    residentReason: `${own} (auto: ${why})`,
  });
  const flags = await resolveSparsity(model, asked);
  const { threadCount } = setUpEngine(model, flags, 0);
  const measured = await savedMeasurements(model, flags, threadCount);
  if (measured === null)
    return keep("the disk or the kernels have not been measured: flashlm device, flashlm plan");
  const coarser = coarserOutlook(model, flags, measured, [flags.memory]);
  if (coarser === null) return keep("no coarser ones are proposed");
  const { residentDtype, outlooks } = coarser;
  const coarserMs = outlooks[0]?.forecast.tokenMs;
  const ownMs = outlookIfAny(model, flags, measured)?.forecast.tokenMs;
  if (coarserMs === undefined) return keep("the limit is too small for any");
  const compared =
    ownMs === undefined
      ? `the limit is too small for ${own}`
      : `forecast ${coarserMs.toFixed(2)} ms/token with ${residentDtype}, ${ownMs.toFixed(2)} with ${own}`;
  if (ownMs !== undefined && coarserMs > (1 - SAVED_SHARE_LEAST) * ownMs) return keep(compared);
  return { residentDtype, residentReason: `${residentDtype} (auto: ${compared})` };
}

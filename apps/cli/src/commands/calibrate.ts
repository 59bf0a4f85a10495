import { isBundle, openBundle, rewriteOrder } from "@flashlm/bundler";
import { FlashlmError } from "@flashlm/contracts";
import { loadTokenizer } from "@flashlm/runtime";
import type { Command } from "commander";
import { ActivationStatistics, activationStatisticsBytes } from "../activation-statistics.js";
import { createEngineWithin, processOverheadBytes } from "../engine-memory.js";
import { composeParts, engineOptions } from "../engine-parts.js";
import { type EngineFlags, wholeNumber, withEngineFlags } from "../options.js";
import { createProgress } from "../progress.js";
import { promptOnly } from "../prompt-only.js";
import { type OpenModel, setUpEngine } from "../session.js";
import { readTextTokens, type TextFlags } from "../text-option.js";
import { cutWindows } from "./perplexity.js";

interface CalibrateFlags extends EngineFlags, TextFlags {
  readonly limit: number;
  readonly window: number;
}

/** Registers `flashlm calibrate`. */
export function addCalibrate(program: Command): void {
  const command = program
    .command("calibrate")
    .description(
      "run a bundle over a text and write thresholds and the hottest-first order of its records; trained heads follow their neurons",
    )
    .argument("<bundle>", "bundle folder; rewritten atomically")
    .option("--text <file>", "UTF-8 text")
    .option("--tokens <ids>", "tokens instead of a text: 1,2,3 or a JSON file")
    .option("--limit <tokens>", "tokens of the text to use", wholeNumber("--limit", 2), 8192)
    .option("--window <tokens>", "tokens per window", wholeNumber("--window", 2, 1 << 20), 512);
  withEngineFlags(command).action((path: string, flags: CalibrateFlags) => calibrate(path, flags));
}

async function calibrate(path: string, flags: CalibrateFlags): Promise<void> {
  if (!isBundle(path))
    throw new FlashlmError(
      "BUNDLE_NOT_FOUND",
      `Expected a bundle folder but ${path} is none. Make one with: flashlm bundle CHECKPOINT --out ${path}`,
    );
  const bundle = await openBundle(path);
  const tokenizer = flags.text === undefined ? null : await loadTokenizer(path);
  const all = readTextTokens(flags, tokenizer).slice(0, flags.limit);
  const windows = cutWindows(all, Math.min(flags.window, bundle.manifest.model.contextLengthMax));
  if (windows.length === 0)
    throw new FlashlmError("ENGINE_OPTION", `Expected at least 2 tokens but received ${all.length}.`);
  const beside = { owner: "activation statistics", plannedBytes: activationStatisticsBytes(bundle) };
  const model = { bundlePath: path, bundle, tokenizer, overheadBytes: processOverheadBytes(), beside };
  const progress = createProgress(!flags.json);
  const statistics = await measure(model, windows, flags, (share) => progress.update("calibrating", share));
  const tokenCount = windows.reduce((sum, window) => sum + window.length, 0);
  const { order, calibration } = statistics.finish(flags.text ?? "tokens", tokenCount);
  await rewriteOrder(path, {
    order,
    calibration,
    onProgress: (event) => progress.update("rewriting", event.doneShare),
  });
  progress.end();
  const { activeShareByLayer } = calibration;
  if (flags.json) process.stdout.write(`${JSON.stringify({ tokenCount, activeShareByLayer })}\n`);
  else {
    const shares = activeShareByLayer.map((share) => (100 * share).toFixed(0));
    process.stderr.write(
      `calibrated on ${tokenCount} tokens; not zero by layer, percent: ${shares.join(" ")}\n`,
    );
  }
}

/** Runs the model densely over the windows, within `--memory`. What is measured does not depend on it. */
async function measure(
  model: OpenModel,
  windows: readonly (readonly number[])[],
  flags: CalibrateFlags,
  onProgress: (doneShare: number) => void,
): Promise<ActivationStatistics> {
  const statistics = new ActivationStatistics(model.bundle);
  const dense: CalibrateFlags = { ...flags, sparsity: "dense", context: flags.context ?? windows[0]!.length };
  const setup = setUpEngine(model, dense, dense.context!);
  const engine = await createEngineWithin(
    model,
    dense,
    { ...composeParts(model.bundle, dense), predictor: statistics.predictorPart() },
    { ...engineOptions(setup), onActivations: statistics.observe },
  );
  try {
    for (const [index, window] of windows.entries()) {
      await promptOnly(engine, window);
      onProgress((index + 1) / windows.length);
    }
  } finally {
    await engine.close();
  }
  return statistics;
}

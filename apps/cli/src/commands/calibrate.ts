import { readFileSync } from "node:fs";
import { isBundle, openBundle, rewriteOrder } from "@flashlm/bundler";
import { FlashlmError } from "@flashlm/contracts";
import { createEngine, loadTokenizer } from "@flashlm/runtime";
import type { Command } from "commander";
import { ActivationStatistics } from "../activation-statistics.js";
import { composeParts } from "../engine-parts.js";
import { type EngineFlags, wholeNumber, withEngineFlags } from "../options.js";
import { createProgress } from "../progress.js";
import { cutWindows } from "./perplexity.js";

interface CalibrateFlags extends EngineFlags {
  readonly text: string;
  readonly limit: number;
}

/** Registers `flashlm calibrate`. */
export function addCalibrate(program: Command): void {
  const command = program
    .command("calibrate")
    .description("run a bundle over a text and write thresholds and the hottest-first order of its records")
    .argument("<bundle>", "bundle folder; rewritten atomically")
    .requiredOption("--text <file>", "UTF-8 text")
    .option("--limit <tokens>", "tokens of the text to use", wholeNumber("--limit", 2), 8192);
  withEngineFlags(command).action((path: string, flags: CalibrateFlags) => calibrate(path, flags));
}

async function calibrate(path: string, flags: CalibrateFlags): Promise<void> {
  if (!isBundle(path))
    throw new FlashlmError(
      "BUNDLE_NOT_FOUND",
      `Expected a bundle folder but ${path} is none. Make one with: flashlm bundle CHECKPOINT --out ${path}`,
    );
  const bundle = await openBundle(path);
  const tokenizer = await loadTokenizer(path);
  if (!tokenizer)
    throw new FlashlmError(
      "TOKENIZER_UNSUPPORTED",
      "Expected a tokenizer in the bundle but there is none: a text cannot be read with it.",
    );
  const windows = cutWindows(
    tokenizer.encode(readFileSync(flags.text, "utf8"), { addSpecialTokens: false }).slice(0, flags.limit),
    512,
  );
  if (windows.length === 0)
    throw new FlashlmError("ENGINE_OPTION", `Expected a text of at least 2 tokens in ${flags.text}.`);
  const statistics = new ActivationStatistics(bundle);
  const engine = await createEngine(
    { ...composeParts(bundle, { ...flags, sparsity: "dense" }), predictor: statistics.predictorPart() },
    {
      memoryBytes: Number.POSITIVE_INFINITY,
      contextLength: windows[0]!.length,
      threadCount: flags.threads ?? 2,
      onActivations: statistics.observe,
    },
  );
  const progress = createProgress();
  let tokenCount = 0;
  try {
    for (const window of windows) {
      await engine.score(window);
      tokenCount += window.length;
      progress.update("calibrating", tokenCount / (windows.length * window.length));
    }
  } finally {
    await engine.close();
  }
  const { order, calibration } = statistics.finish(flags.text, tokenCount);
  await rewriteOrder(path, {
    order,
    calibration,
    onProgress: (event) => progress.update("rewriting", event.doneShare),
  });
  progress.end();
  const shares = calibration.activeShareByLayer.map((share) => (100 * share).toFixed(0));
  process.stderr.write(
    `calibrated on ${tokenCount} tokens; not zero by layer, percent: ${shares.join(" ")}\n`,
  );
}

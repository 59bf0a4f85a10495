import { isBundle, openBundle, writeHeads } from "@flashlm/bundler";
import {
  type BundleIndex,
  FlashlmError,
  type HeadDtype,
  type HeadName,
  isExactlySparse,
} from "@flashlm/contracts";
import { usualThreadCount } from "@flashlm/kernels";
import { MISSED_TARGETS, type TrainingOptions } from "@flashlm/predictor";
import { loadTokenizer } from "@flashlm/runtime";
import type { Command } from "commander";
import { Option } from "commander";
import { checkWithin, processOverheadBytes } from "../engine-memory.js";
import { type EngineFlags, realNumber, wholeNumber, withEngineFlags } from "../options.js";
import { createProgress } from "../progress.js";
import { readTextTokens, type TextFlags } from "../text-option.js";
import { loadHead } from "../training/head-file.js";
import { recordActivations } from "../training/record-activations.js";
import { type HeadFigures, headSettings, trainHeads, trainHeadsRows } from "../training/train-heads.js";
import { TrainingFolder } from "../training/training-folder.js";
import { describeHeads, manifestHeads, reportHeads } from "../training/training-report.js";
import { recordingKey, splitTokens, spreadWindows } from "../training/training-text.js";

interface TrainFlags extends EngineFlags, TextFlags {
  readonly limit: number;
  readonly window: number;
  readonly rank: string;
  readonly headDtype: HeadDtype;
  readonly epochs: number;
  readonly learningRate: number;
  readonly loss: "contribution" | "plain";
  readonly kept: number;
  readonly missed: number;
  readonly keep?: boolean;
}

/** Registers `flashlm train-predictor`. */
export function addTrainPredictor(program: Command): void {
  const command = program
    .command("train-predictor")
    .description(
      "train the bundle's low-rank and look-ahead heads (--look-ahead off: only the former); killed, it goes on where it stood",
    )
    .argument("<bundle>", "bundle folder; its predictor file is replaced atomically")
    .option("--text <file>", "UTF-8 text to train on; windows are taken evenly from all of it")
    .option("--tokens <ids>", "tokens instead of a text: 1,2,3 or a JSON file")
    .option("--limit <tokens>", "tokens to use; an eighth is held out", wholeNumber("--limit", 2), 16384)
    .option(
      "--window <tokens>",
      "tokens per window; fewer where --limit affords less than eight",
      wholeNumber("--window", 2, 1 << 20),
      512,
    )
    .option("--rank <ranks>", "rank of the heads, one for all or one per layer: 128 or 64,128,...", "128")
    .addOption(
      new Option(
        "--head-dtype <dtype>",
        "what the heads' matrices are stored in; q8_0 where blocks of 32 fit, else f16",
      )
        .choices(["q8_0", "f16"])
        .default("q8_0"),
    )
    .option(
      "--epochs <count>",
      "passes over the tokens; 0 keeps the linear start",
      wholeNumber("--epochs", 0, 1000),
      3,
    )
    .option(
      "--learning-rate <rate>",
      "share of the parameters' size",
      realNumber("--learning-rate", 0, 1),
      0.03,
    )
    .addOption(
      new Option("--loss <which>", "weigh active neurons by the root of their contribution, or all alike")
        .choices(["contribution", "plain"])
        .default("contribution"),
    )
    .option(
      "--kept <share>",
      "models without exact zeros: share of the neurons that counts as active",
      realNumber("--kept", 0.01, 1),
      0.5,
    )
    .addOption(
      new Option("--missed <share>", "missed share of the contribution that the report shows")
        .choices(MISSED_TARGETS.map(String))
        .argParser(Number)
        .default(0.02),
    )
    .option("--keep", "leave the folder BUNDLE.training with the recorded activations");
  withEngineFlags(command).action((path: string, flags: TrainFlags) => trainPredictor(path, flags));
}

async function trainPredictor(path: string, flags: TrainFlags): Promise<void> {
  if (!isBundle(path))
    throw new FlashlmError(
      "BUNDLE_NOT_FOUND",
      `Expected a bundle folder but ${path} is none. Make one with: flashlm bundle CHECKPOINT --out ${path}`,
    );
  const bundle = await openBundle(path);
  const tokenizer = flags.text === undefined ? null : await loadTokenizer(path);
  const windows = spreadWindows(readTextTokens(flags, tokenizer), flags.window, flags.limit);
  if (windows.reduce((sum, window) => sum + window.length, 0) < 32)
    throw new FlashlmError("ENGINE_OPTION", "Expected at least 32 tokens to train on. Give a longer text.");
  const overheadBytes = processOverheadBytes();
  const plan = {
    bundle,
    split: splitTokens(windows),
    ranks: parseRanks(flags.rank, bundle),
    lookAhead: flags.lookAhead !== "off",
    threadCount: flags.threads ?? usualThreadCount(),
  };
  // Before hours of recording.
  checkWithin({ overheadBytes }, flags, trainHeadsRows(plan), "fewer tokens (--limit) or a smaller --rank");
  const folder = new TrainingFolder(bundle, { recording: recordingKey(bundle, windows) });
  const progress = createProgress(!flags.json);
  const resumedTokens = folder.recordedTokens;
  if (resumedTokens > 0 && !flags.json)
    process.stderr.write(`going on with ${resumedTokens} tokens that are recorded in ${folder.path}\n`);
  await recordActivations({
    bundle,
    folder,
    windows,
    flags,
    overheadBytes,
    threadCount: plan.threadCount,
    onProgress: (share) => progress.update("running the model", share),
  });
  progress.end();
  const { split } = plan;
  const request = {
    ...plan,
    folder,
    options: trainingOptions(flags),
    keptShare: isExactlySparse(bundle.manifest.model.ffn) ? null : flags.kept,
    kernels: flags.kernels,
  };
  const training = createProgress(!flags.json);
  const figures = await trainHeads({ ...request, onProgress: (share) => training.update("training", share) });
  training.end();
  const tokenCount = split.training.length + split.heldOut.length;
  await writeHeads(path, {
    heads: manifestHeads(figures, flags.text ?? "tokens", tokenCount, split.heldOut.length),
    dtype: flags.headDtype,
    weights: (head, layerIndex) =>
      loadHead(folder.headPath(head, layerIndex), headSettings(request, layerIndex))!,
  });
  if (!flags.keep) folder.remove();
  report(figures, flags, { tokenCount, heldOutTokenCount: split.heldOut.length, resumedTokens });
}

function report(
  figures: readonly HeadFigures[],
  flags: TrainFlags,
  counts: Readonly<Record<"tokenCount" | "heldOutTokenCount" | "resumedTokens", number>>,
): void {
  const [lowrank, lookahead] = (["lowrank", "lookahead"] as const).map((head: HeadName) =>
    reportHeads(figures, head, flags.missed),
  );
  const tables = [
    describeHeads("lowrank", lowrank!),
    ...(lookahead!.layers.length > 0 ? [["", ...describeHeads("lookahead", lookahead!)]] : []),
  ];
  if (flags.json) process.stdout.write(`${JSON.stringify({ ...counts, lowrank, lookahead })}\n`);
  else process.stdout.write(`${tables.flat().join("\n")}\n`);
}

function trainingOptions(flags: TrainFlags): TrainingOptions {
  return {
    epochCount: flags.epochs,
    learningRate: flags.learningRate,
    weightDecay: 0.01,
    contributionPower: flags.loss === "plain" ? 0 : 0.5,
    headDtype: flags.headDtype,
    seed: 1,
  };
}

/** One rank for all layers, or one per layer. */
function parseRanks(text: string, bundle: BundleIndex): readonly number[] {
  const { hiddenSize } = bundle.manifest.model;
  const parse = wholeNumber("--rank", 1, hiddenSize);
  const ranks = text.split(",").map((part) => parse(part));
  const layerCount = bundle.manifest.layers.length;
  if (ranks.length === layerCount) return ranks;
  if (ranks.length === 1) return new Array<number>(layerCount).fill(ranks[0]!);
  throw new FlashlmError(
    "ENGINE_OPTION",
    `Expected --rank to be one number, or one per layer (${layerCount}), but received ${ranks.length}.`,
  );
}

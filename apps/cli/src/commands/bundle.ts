import { existsSync, rmSync } from "node:fs";
import { basename, resolve } from "node:path";
import {
  type Checkpoint,
  chooseDtype,
  isBundle,
  openCheckpoint,
  roundsToFourBits,
  type WriteBundleOptions,
  writeBundle,
} from "@flashlm/bundler";
import { FlashlmError, type WeightDtype } from "@flashlm/contracts";
import { type Command, Option } from "commander";
import { contentHashOf, embeddedModelPath } from "../model-path.js";
import { WEIGHT_DTYPES } from "../options.js";
import { createProgress } from "../progress.js";
import { measureInputs } from "../rounding/measure-inputs.js";

interface BundleFlags {
  readonly out: string;
  readonly dtype?: WeightDtype;
  readonly residentDtype?: WeightDtype;
  readonly rounding: "measured" | "nearest";
  readonly force?: boolean;
}

/** Registers `flashlm bundle`. */
export function addBundle(program: Command): void {
  program
    .command("bundle")
    .description("make a bundle from a checkpoint")
    .argument("[checkpoint]", "Hugging Face folder or GGUF file (default: the embedded model)")
    .requiredOption("--out <folder>", "bundle folder to make")
    .addOption(
      new Option("--dtype <dtype>", "dtype of the weights (default: chosen from the source)").choices(
        WEIGHT_DTYPES,
      ),
    )
    .addOption(
      new Option(
        "--resident-dtype <dtype>",
        "dtype of attention projections, token embedding and head (default: as --dtype has them)",
      ).choices(WEIGHT_DTYPES),
    )
    .addOption(
      new Option(
        "--rounding <how>",
        "q4_0 from finer weights: measured runs the model on a text first, and costs less quality",
      )
        .choices(["measured", "nearest"])
        .default("measured"),
    )
    .option("--force", "replace an existing bundle")
    .action((source: string | undefined, flags: BundleFlags) => bundle(source, flags));
}

async function bundle(source: string | undefined, flags: BundleFlags): Promise<void> {
  const outPath = resolve(flags.out);
  if (existsSync(outPath) && !(flags.force && isBundle(outPath))) {
    throw new FlashlmError(
      "BUNDLE_WRITE",
      `Expected ${outPath} not to exist. Choose another --out${isBundle(outPath) ? ", or --force to replace this bundle" : ""}.`,
      { outPath },
    );
  }
  const checkpoint = await openCheckpoint(resolve(source ?? (await embeddedModelPath())));
  try {
    const choice = chooseDtype(checkpoint, flags.dtype, flags.residentDtype);
    const { dtype, residentDtype, reason } = choice;
    process.stderr.write(
      `${basename(checkpoint.name)} -> ${dtype}${residentDtype ? `, residents ${residentDtype}` : ""}: ${reason}\n`,
    );
    const contentHash = await contentHashOf(checkpoint.paths);
    const write = { outPath, dtype, ...(residentDtype ? { residentDtype } : {}), contentHash };
    if (flags.rounding === "measured" && roundsToFourBits(choice)) await writeMeasured(checkpoint, write);
    else await writeShown(checkpoint, write, "bundling");
    process.stderr.write(`wrote ${outPath}\n`);
  } finally {
    checkpoint.close();
  }
}

async function writeShown(checkpoint: Checkpoint, options: WriteBundleOptions, label: string): Promise<void> {
  const progress = createProgress();
  try {
    await writeBundle(checkpoint, {
      ...options,
      onProgress: (event) => progress.update(label, event.doneShare),
    });
  } finally {
    progress.end();
  }
}

/** A bundle with nearest levels is made first, to measure the inputs of its FFNs; then the checkpoint is rounded by them. */
async function writeMeasured(checkpoint: Checkpoint, options: WriteBundleOptions): Promise<void> {
  const measuredPath = `${options.outPath}.measuring`;
  await writeShown(checkpoint, { ...options, outPath: measuredPath }, "bundling to measure");
  const progress = createProgress();
  const rounding = await measureInputs(measuredPath, (share) => progress.update("measuring", share));
  progress.end();
  rmSync(measuredPath, { recursive: true, force: true });
  await writeShown(checkpoint, { ...options, rounding }, "bundling");
}

import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { chooseDtype, isBundle, openCheckpoint, writeBundle } from "@flashlm/bundler";
import { FlashlmError, type WeightDtype } from "@flashlm/contracts";
import { type Command, Option } from "commander";
import { contentHashOf, embeddedModelPath } from "../model-path.js";
import { WEIGHT_DTYPES } from "../options.js";
import { createProgress } from "../progress.js";

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
    .option("--force", "replace an existing bundle")
    .action((source: string | undefined, flags: { out: string; dtype?: WeightDtype; force?: boolean }) =>
      bundle(source, flags),
    );
}

async function bundle(
  source: string | undefined,
  flags: { out: string; dtype?: WeightDtype; force?: boolean },
): Promise<void> {
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
    const choice = chooseDtype(checkpoint, flags.dtype);
    process.stderr.write(`${basename(checkpoint.name)} -> ${choice.dtype}: ${choice.reason}\n`);
    const progress = createProgress();
    const contentHash = await contentHashOf(checkpoint.paths);
    await writeBundle(checkpoint, {
      outPath,
      dtype: choice.dtype,
      contentHash,
      onProgress: (event) => progress.update("bundling", event.doneShare),
    });
    progress.end();
    process.stderr.write(`wrote ${outPath}\n`);
  } finally {
    checkpoint.close();
  }
}

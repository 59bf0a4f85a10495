import { type HeadInput, importHeads, isBundle } from "@flashlm/bundler";
import { FlashlmError } from "@flashlm/contracts";
import { type Command, Option } from "commander";
import { realNumber } from "../options.js";

interface ImportFlags {
  readonly from: string;
  readonly input?: HeadInput;
  readonly threshold?: number;
  readonly json?: boolean;
}

/** Most that a threshold may be: beyond it halves end. */
const THRESHOLD_MAX = 65504;

/** Registers `flashlm import-predictor`. */
export function addImportPredictor(program: Command): void {
  program
    .command("import-predictor")
    .description("write predictors that another program trained for this model into a bundle")
    .argument("<bundle>", "bundle folder; its predictor file is replaced atomically")
    .requiredOption(
      "--from <path>",
      "GGUF of PowerInfer, safetensors file, or a folder with one file a layer",
    )
    .addOption(
      new Option(
        "--input <which>",
        "what the predictors read: the FFN's input behind its norm, or the residual stream (default for PowerInfer's)",
      ).choices(["normed", "residual"]),
    )
    .option(
      "--threshold <score>",
      "scores above it are predicted (default: what the file or its config.json says, else 0)",
      realNumber("--threshold", -THRESHOLD_MAX, THRESHOLD_MAX),
    )
    .option("--json", "print one JSON object on stdout and nothing else")
    .action((path: string, flags: ImportFlags) => importPredictor(path, flags));
}

async function importPredictor(path: string, flags: ImportFlags): Promise<void> {
  if (!isBundle(path))
    throw new FlashlmError(
      "BUNDLE_NOT_FOUND",
      `Expected a bundle folder but ${path} is none. Make one with: flashlm bundle CHECKPOINT --out ${path}`,
    );
  const { from, input, threshold } = flags;
  const made = await importHeads(path, {
    from,
    ...(input === undefined ? {} : { input }),
    ...(threshold === undefined ? {} : { threshold }),
  });
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(made)}\n`);
    return;
  }
  const ranks = [...new Set(made.ranks)].sort((a, b) => a - b);
  const range = ranks.length === 1 ? `rank ${ranks[0]}` : `ranks ${ranks[0]} to ${ranks.at(-1)}`;
  process.stdout.write(
    `imported heads of ${made.ranks.length} layers from ${made.name}: ${range}, ${made.activation === "relu" ? "ReLU between" : "linear"}, on the ${made.input === "normed" ? "FFN's normed input" : "residual stream"}, threshold ${made.threshold}\n` +
      `what they miss is not known; measure it with: flashlm eval ${path} --text FILE --sparsity lowrank\n`,
  );
}

import { appendFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  findPreset,
  SYNTHETIC_PRESETS,
  SYNTHETIC_THREADS_MAX,
  type SyntheticCheckpoint,
  type SyntheticDtype,
  writeSynthetic,
} from "@flashlm/bundler";
import { type Command, Option } from "commander";
import { formatBytes } from "../memory-option.js";
import { type EngineFlags, wholeNumber } from "../options.js";
import { createProgress } from "../progress.js";
import { describeStatistics, figuresOf } from "../synthetic/describe-statistics.js";
import { measureSynthetic, type SyntheticStatistics } from "../synthetic/measure.js";

interface SynthFlags {
  readonly preset: string;
  readonly seed: number;
  readonly out: string;
  readonly format: "hf" | "gguf";
  readonly dtype: SyntheticDtype;
  readonly threads?: number;
  readonly measure: boolean;
  readonly json?: boolean;
}

/** Registers `flashlm synth`. */
export function addSynth(program: Command): void {
  program
    .command("synth")
    .description("make a checkpoint of random weights with the shape and the sparsity of a published model")
    .addOption(new Option("--preset <name>", "shape").choices([...SYNTHETIC_PRESETS]).makeOptionMandatory())
    .requiredOption("--out <folder>", "folder to make")
    .option("--seed <number>", "same seed, same weights", wholeNumber("--seed", 0, 0xffffffff), 1)
    .addOption(
      new Option("--format <format>", "Hugging Face folder, or GGUF for Llama shapes")
        .choices(["hf", "gguf"])
        .default("hf"),
    )
    .addOption(
      new Option("--dtype <dtype>", "dtype of the weights; q8_0 as GGUF only")
        .choices(["f16", "bf16", "f32", "q8_0"])
        .default("f16"),
    )
    .option(
      "--threads <count>",
      "threads (default: cores; for filling at most 8)",
      wholeNumber("--threads", 1, SYNTHETIC_THREADS_MAX),
    )
    .option("--no-measure", "write only: measuring bundles the checkpoint and runs it densely")
    .option("--json", "print one JSON object on stdout and nothing else")
    .action((flags: SynthFlags) => synth(flags));
}

async function synth(flags: SynthFlags): Promise<void> {
  const quiet = flags.json === true;
  const say = (text: string): void => {
    if (!quiet) process.stderr.write(`${text}\n`);
  };
  const preset = findPreset(flags.preset);
  const progress = createProgress(!quiet);
  const checkpoint = await writeSynthetic({
    preset: flags.preset,
    seed: flags.seed,
    outPath: flags.out,
    format: flags.format === "gguf" ? "gguf" : "safetensors",
    dtype: flags.dtype,
    ...(flags.threads === undefined ? {} : { threadCount: flags.threads }),
    onProgress: (doneBytes, totalBytes) => progress.update("writing", doneBytes / totalBytes),
  });
  progress.end();
  const bytesPerSecond = (checkpoint.weightBytes * 1000) / checkpoint.elapsedMs;
  say(
    `wrote ${checkpoint.path}: ${formatBytes(checkpoint.weightBytes)} of synthetic weights, ${formatBytes(bytesPerSecond)}/s`,
  );
  const statistics = await measureIfWanted(checkpoint, flags, say);
  if (!quiet) return;
  const figures = statistics === null ? null : figuresOf(statistics, preset.targets);
  const { weightBytes, elapsedMs, path } = checkpoint;
  process.stdout.write(
    `${JSON.stringify({ path, synthetic: true, preset: preset.name, seed: flags.seed, weightBytes, elapsedMs, figures, statistics })}\n`,
  );
}

/** GGUF files of Llama are SiLU for every reader, and then no neuron is ever exactly zero: there is nothing to measure. */
async function measureIfWanted(
  checkpoint: SyntheticCheckpoint,
  flags: SynthFlags,
  say: (text: string) => void,
): Promise<SyntheticStatistics | null> {
  if (flags.format === "gguf") {
    say("GGUF: the activation is SiLU there, no neuron is exactly zero, and nothing is measured");
    return null;
  }
  if (!flags.measure) {
    say("not measured; the targets are in README.md");
    return null;
  }
  const engineFlags: EngineFlags = {
    sparsity: "dense",
    lookAhead: "off",
    kernels: "auto",
    reader: "auto",
    cache: "auto",
    kvCache: "auto",
    dots: "f32",
    verify: "never",
    ...(flags.threads === undefined ? {} : { threads: flags.threads }),
    ...(flags.json === undefined ? {} : { json: flags.json }),
  };
  const progress = createProgress(flags.json !== true);
  const statistics = await measureSynthetic(checkpoint, engineFlags, (label, doneShare) =>
    progress.update(label, doneShare),
  );
  progress.end();
  const lines = describeStatistics(statistics, checkpoint.preset.targets);
  say(lines.join("\n"));
  const folder = resolve(flags.out);
  writeFileSync(
    join(folder, "statistics.json"),
    `${JSON.stringify({ synthetic: true, ...statistics }, null, 1)}\n`,
  );
  appendFileSync(join(folder, "README.md"), `\n## Measured\n\n\`\`\`text\n${lines.join("\n")}\n\`\`\`\n`);
  return statistics;
}

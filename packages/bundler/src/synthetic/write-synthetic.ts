import { existsSync } from "node:fs";
import { mkdir, open, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { installFolder, requireFreeSpace, writeDurably, writeError } from "../writer/install-bundle.js";
import {
  falconTensors,
  optTensors,
  persimmonTensors,
  phiTensors,
  type TensorContext,
} from "./family-tensors.js";
import { type PlannedFile, planSafetensors, SHARD_BYTES_MAX } from "./file-plan.js";
import type { SyntheticTensor } from "./fill-recipe.js";
import { fillFiles } from "./fill-threads.js";
import { planGguf } from "./gguf-plan.js";
import { llamaHuggingFaceTensors } from "./llama-names.js";
import { modelCard } from "./model-card.js";
import { configJson, specialIdsOf } from "./model-config.js";
import { findPreset, type SyntheticPreset } from "./presets.js";
import type { SyntheticDtype } from "./row-filler.js";
import { syntheticText, tokenCode } from "./token-code.js";
import { syntheticTokenizer } from "./vocabulary.js";

/** Tokens of `tokens.json`: half of them train a predictor. */
export const TEXT_TOKENS = 32_768;
/** Most threads that fill by default: they make more than disks write. */
const THREAD_COUNT_USUAL_MAX = 8;
/** Most threads that fill, of 16 MiB each. */
export const SYNTHETIC_THREADS_MAX = 64;
/** Room for the small files. */
const SMALL_BYTES = 64 * 2 ** 20;

/** Options of {@link writeSynthetic}. */
export interface SyntheticOptions {
  /** One of `SYNTHETIC_PRESETS`. */
  readonly preset: string;
  /** Same seed, same bytes, whatever the thread count. A whole number from 0 to 2^32 - 1. */
  readonly seed: number;
  /** Folder to make; must not exist. */
  readonly outPath: string;
  /** `gguf` is there for Llama shapes. */
  readonly format?: "safetensors" | "gguf";
  /** Default f16; q8_0 only as GGUF. */
  readonly dtype?: SyntheticDtype;
  /** Threads that fill files, beside those that write them: 1 to 64, default one per core and at most 8. */
  readonly threadCount?: number;
  /** Most bytes of one safetensors file; default 5 GB. */
  readonly shardBytesMax?: number;
  /** Called about ten times a second. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Stops the work and removes what was written. */
  readonly signal?: AbortSignal;
}

/** What {@link writeSynthetic} wrote. */
export interface SyntheticCheckpoint {
  /** The folder, or for GGUF the file in it: what `openCheckpoint` takes. */
  readonly path: string;
  readonly preset: SyntheticPreset;
  readonly weightBytes: number;
  /** Time of writing the weights and having them on the device. */
  readonly elapsedMs: number;
}

function optionError(message: string, details: Record<string, string | number>): FlashlmError {
  return new FlashlmError("SYNTHETIC_OPTION", message, details);
}

function checkOptions(options: SyntheticOptions, preset: SyntheticPreset): void {
  const { seed, format = "safetensors", dtype = "f16" } = options;
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff)
    throw optionError(`Expected a seed from 0 to 4294967295 but received ${seed}.`, { seed });
  const { threadCount = 1 } = options;
  if (!Number.isInteger(threadCount) || threadCount < 1 || threadCount > SYNTHETIC_THREADS_MAX)
    throw optionError(`Expected 1 to ${SYNTHETIC_THREADS_MAX} threads but received ${threadCount}.`, {
      threadCount,
    });
  if (format === "gguf" && preset.shape.family !== "llama") {
    throw optionError(
      `Expected a Llama shape for GGUF but received ${preset.name}, which llama.cpp would not run with ReLU. Leave the format out, or use llama-2-7b.`,
      { preset: preset.name },
    );
  }
  if (format !== "gguf" && dtype === "q8_0")
    throw optionError("Expected f16, bf16 or f32: safetensors have no q8_0. Add the format gguf for it.", {
      dtype,
    });
  const outPath = resolve(options.outPath);
  if (existsSync(outPath)) {
    throw new FlashlmError(
      "SYNTHETIC_WRITE",
      `Expected ${outPath} not to exist. Choose another folder or remove it.`,
      {
        path: outPath,
      },
    );
  }
}

/** Tensors of a Hugging Face checkpoint of the preset's family. */
export function tensorsOf(context: TensorContext): SyntheticTensor[] {
  const makers = {
    opt: optTensors,
    falcon: falconTensors,
    persimmon: persimmonTensors,
    phi: phiTensors,
    llama: llamaHuggingFaceTensors,
  } as const;
  return makers[context.preset.shape.family](context);
}

/** The seed's context: preset, and the code of its tokens. */
export function tensorContext(preset: SyntheticPreset, seed: number): TensorContext {
  const { bos, eos, pad } = specialIdsOf(preset);
  const code = tokenCode(
    preset.shape.vocabularySize,
    preset.digits,
    pad === null ? [bos, eos] : [bos, eos, pad],
  );
  return { preset, seed, code };
}

/** Files of text beside the weights. */
function smallFiles(context: TensorContext, options: SyntheticOptions): { name: string; text: string }[] {
  const { preset, seed, code } = context;
  const { format = "safetensors", dtype = "f16" } = options;
  const { bos, eos } = specialIdsOf(preset);
  const tokens = [...syntheticText(code, seed, TEXT_TOKENS)];
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const files = [
    { name: "README.md", text: modelCard(preset, seed, dtype, format) },
    {
      name: "tokens.json",
      text: `${JSON.stringify({ synthetic: true, preset: preset.name, seed, tokens })}\n`,
    },
  ];
  if (format === "gguf") return files;
  return [
    ...files,
    ...syntheticTokenizer(preset),
    { name: "config.json", text: json(configJson(preset, seed, dtype)) },
    { name: "generation_config.json", text: json({ bos_token_id: bos, eos_token_id: eos }) },
  ];
}

async function writeWeights(
  folder: string,
  files: readonly PlannedFile[],
  options: SyntheticOptions,
): Promise<void> {
  const paths = files.map((file) => join(folder, file.name));
  const totalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  for (const path of paths) await (await open(path, "w")).close();
  await fillFiles(paths, files, {
    threadCount: options.threadCount ?? Math.min(availableParallelism(), THREAD_COUNT_USUAL_MAX),
    onBytes: (doneBytes) => options.onProgress?.(Math.min(doneBytes, totalBytes), totalBytes),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  for (const [index, path] of paths.entries()) {
    const file = await open(path, "r+");
    try {
      await file.truncate(files[index]!.sizeBytes);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

/**
 * Writes a checkpoint of a published model's shape with random weights whose activations have the statistics of the preset's
 * targets. Streams: never holds more than 16 MiB per thread and the vectors. Works in `outPath.partial`, which is
 * renamed at the end and removed on a fault. @throws SYNTHETIC_OPTION, SYNTHETIC_WRITE, BUNDLE_WRITE where the disk is too small or fails.
 */
export async function writeSynthetic(options: SyntheticOptions): Promise<SyntheticCheckpoint> {
  const preset = findPreset(options.preset);
  checkOptions(options, preset);
  const { format = "safetensors", dtype = "f16" } = options;
  const outPath = resolve(options.outPath);
  const partialPath = `${outPath}.partial`;
  const context = tensorContext(preset, options.seed);
  const { files, index } =
    format === "gguf"
      ? { files: [planGguf(context, dtype)], index: null }
      : planSafetensors(tensorsOf(context), dtype, options.seed, options.shardBytesMax ?? SHARD_BYTES_MAX);
  const weightBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  let made = false;
  try {
    await mkdir(dirname(outPath), { recursive: true });
    await requireFreeSpace(dirname(outPath), weightBytes + SMALL_BYTES);
    await mkdir(partialPath);
    made = true;
    const startedMs = performance.now();
    await writeWeights(partialPath, files, options);
    const elapsedMs = performance.now() - startedMs;
    for (const { name, text } of [...smallFiles(context, options), ...(index === null ? [] : [index])])
      await writeDurably(join(partialPath, name), text);
    await installFolder(partialPath, outPath);
    const path = format === "gguf" ? join(outPath, files[0]!.name) : outPath;
    return { path, preset, weightBytes, elapsedMs };
  } catch (cause) {
    if (made) await rm(partialPath, { recursive: true, force: true });
    throw writeError(cause, partialPath, weightBytes);
  }
}

import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import type { Checkpoint } from "./checkpoint.js";
import { openGguf } from "./gguf-checkpoint.js";
import { openHuggingFace } from "./huggingface/checkpoint.js";

function openFolder(folder: string): Checkpoint {
  if (existsSync(join(folder, "config.json"))) return openHuggingFace(folder);
  const models = readdirSync(folder)
    .filter((name) => name.endsWith(".gguf"))
    .filter((name) => !/-\d{5}-of-\d{5}\.gguf$/.test(name) || /-00001-of-\d{5}\.gguf$/.test(name));
  if (models.length === 1) return openGguf(join(folder, models[0]!));
  throw new FlashlmError(
    "CHECKPOINT_NOT_FOUND",
    models.length === 0
      ? `${folder} has neither a config.json nor a .gguf file; give the folder of a Hugging Face checkpoint or a GGUF file`
      : `${folder} has ${models.length} GGUF models; name one of them: ${models.slice(0, 5).join(", ")}`,
    { path: folder, ggufCount: models.length },
  );
}

/**
 * Opens a checkpoint: a GGUF file (any file of a split one), a folder with one of them, or a Hugging Face folder.
 * Reads headers and configs only, checks them against each other and keeps the weight files open.
 * @param path - file or folder; relative to the working directory.
 * @returns the checkpoint; the caller closes it.
 * @throws CHECKPOINT_NOT_FOUND, CHECKPOINT_FORMAT, CHECKPOINT_TRUNCATED, CHECKPOINT_LIMIT, CHECKPOINT_MISSING_SHARD,
 * CHECKPOINT_MISSING_TENSOR, CHECKPOINT_SHAPE, CHECKPOINT_DTYPE, CHECKPOINT_UNSUPPORTED, FLASH_IO.
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const absolute = resolve(path);
  const status = statSync(absolute, { throwIfNoEntry: false });
  if (status === undefined) {
    throw new FlashlmError(
      "CHECKPOINT_NOT_FOUND",
      `there is no ${absolute}; give a GGUF file or the folder of a Hugging Face checkpoint`,
      { path: absolute },
    );
  }
  if (status.isDirectory()) return openFolder(absolute);
  if (/\.(safetensors|json)$/.test(absolute)) {
    throw new FlashlmError(
      "CHECKPOINT_FORMAT",
      `${absolute} is a part of a checkpoint; give the folder it is in`,
      { path: absolute },
    );
  }
  return openGguf(absolute);
}

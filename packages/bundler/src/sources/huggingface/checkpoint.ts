import { existsSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import type { Checkpoint } from "../checkpoint.js";
import { PositionalFile } from "../positional-file.js";
import { resolveCheckpoint } from "../resolved-checkpoint.js";
import { readSafetensorsHeader } from "../safetensors-source.js";
import type { TensorPlace } from "../tensor-rows.js";
import { huggingFaceModel } from "./model.js";
import { addAbsentNorms, nameTensors } from "./tensor-names.js";

/** Configs are a few kB, an index of 60,000 tensors about 6 MB, a `tokenizer.json` up to about 35 MB. */
const JSON_BYTES_MAX = 128 * 2 ** 20;
/** Most shards: each stays open. The largest published models have about 200. */
const SHARD_COUNT_MAX = 1024;
const INDEX_NAME = "model.safetensors.index.json";
const SINGLE_NAME = "model.safetensors";
const COMPANION_NAMES = ["generation_config.json", "tokenizer_config.json", "tokenizer.json"] as const;
/** Frequency tables and masks that older versions stored and that follow from the config. */
const DERIVED_TENSOR = /\.rotary_emb\.inv_freq$|\.masked_bias$/;

type JsonObject = Readonly<Record<string, unknown>>;

function readJson(path: string): JsonObject {
  const file = PositionalFile.open(path);
  try {
    if (file.sizeBytes > JSON_BYTES_MAX) {
      throw new FlashlmError(
        "CHECKPOINT_LIMIT",
        `${path} has ${file.sizeBytes} bytes; at most ${JSON_BYTES_MAX} are read`,
        { path, limitBytes: JSON_BYTES_MAX },
      );
    }
    const bytes = Buffer.alloc(file.sizeBytes);
    file.readInto(bytes, 0);
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8"));
    } catch (error) {
      throw new FlashlmError("CHECKPOINT_FORMAT", `${path} is not JSON; download it again`, { path }, error);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new FlashlmError("CHECKPOINT_FORMAT", `${path} holds no JSON object`, { path });
    return value as JsonObject;
  } finally {
    file.close();
  }
}

/** Shard of each tensor by the index. @throws CHECKPOINT_FORMAT, CHECKPOINT_LIMIT. */
function readWeightMap(path: string): Map<string, string> {
  const map = readJson(path)["weight_map"];
  if (typeof map !== "object" || map === null)
    throw new FlashlmError("CHECKPOINT_FORMAT", `${path} has no weight_map`, { path });
  const shards = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) {
    const isPlain = typeof shard === "string" && /^[\w.-]+\.safetensors$/.test(shard);
    if (!isPlain) {
      throw new FlashlmError(
        "CHECKPOINT_FORMAT",
        `${path} places ${tensor} in ${JSON.stringify(shard)?.slice(0, 80)}, expected a file name *.safetensors of the same folder`,
        { path, tensor },
      );
    }
    shards.set(tensor, shard);
  }
  return shards;
}

function weightFiles(folder: string): { weightMap: Map<string, string> | null; names: string[] } {
  if (existsSync(join(folder, INDEX_NAME))) {
    const weightMap = readWeightMap(join(folder, INDEX_NAME));
    const names = [...new Set(weightMap.values())].sort();
    if (names.length > SHARD_COUNT_MAX) {
      throw new FlashlmError(
        "CHECKPOINT_LIMIT",
        `${folder} has ${names.length} shards; at most ${SHARD_COUNT_MAX}`,
        {
          count: names.length,
        },
      );
    }
    for (const name of names) {
      if (existsSync(join(folder, name))) continue;
      throw new FlashlmError(
        "CHECKPOINT_MISSING_SHARD",
        `${name} is missing in ${folder}; the index names ${names.length} shards, download all of them`,
        { shard: name, count: names.length },
      );
    }
    return { weightMap, names };
  }
  if (existsSync(join(folder, SINGLE_NAME))) return { weightMap: null, names: [SINGLE_NAME] };
  const other = readdirSync(folder).find((name) => /\.(bin|pt|pth)$/.test(name));
  if (other !== undefined) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `${folder} has weights as ${other}, which can run code when it is read; convert it to safetensors`,
      { file: other },
    );
  }
  throw new FlashlmError("CHECKPOINT_NOT_FOUND", `${folder} has neither ${SINGLE_NAME} nor ${INDEX_NAME}`, {
    path: folder,
  });
}

function collectPlaces(
  files: readonly PositionalFile[],
  weightMap: Map<string, string> | null,
): Map<string, TensorPlace> {
  const originals = new Map<string, TensorPlace>();
  for (const file of files) {
    for (const { name, type, shape, offsetBytes, lengthBytes } of readSafetensorsHeader(file)) {
      // Where there is an index, it decides which of two copies counts.
      if (weightMap !== null && weightMap.get(name) !== basename(file.path)) continue;
      if (DERIVED_TENSOR.test(name)) continue;
      originals.set(name, { file, offsetBytes, lengthBytes, sourceType: type, shape, pairedHeadDim: null });
    }
  }
  for (const [name, shard] of weightMap ?? []) {
    if (originals.has(name) || DERIVED_TENSOR.test(name)) continue;
    throw new FlashlmError(
      "CHECKPOINT_MISSING_TENSOR",
      `${shard} does not hold ${name}, which the index says; the shards do not belong together`,
      { name, shard },
    );
  }
  return originals;
}

/** Caches of downloads name the folder by a hash, two levels below `models--OWNER--NAME`. */
function displayName(folder: string): string {
  const match = /^models--(.+)$/.exec(basename(dirname(dirname(folder))));
  return match === null ? basename(folder) : match[1]!.replace("--", "/");
}

/**
 * Opens a Hugging Face folder: `config.json` and safetensors, whole or in shards. The result owns the open files.
 * @param folder - absolute.
 * @throws CHECKPOINT_NOT_FOUND, CHECKPOINT_FORMAT, CHECKPOINT_TRUNCATED, CHECKPOINT_LIMIT, CHECKPOINT_MISSING_SHARD,
 * CHECKPOINT_MISSING_TENSOR, CHECKPOINT_SHAPE, CHECKPOINT_DTYPE, CHECKPOINT_UNSUPPORTED, FLASH_IO.
 */
export function openHuggingFace(folder: string): Checkpoint {
  const config = readJson(join(folder, "config.json"));
  const companions = COMPANION_NAMES.map((name) => {
    const path = join(folder, name);
    return existsSync(path) ? { path, value: readJson(path) } : null;
  });
  const [generationConfig, tokenizerConfig, tokenizer] = companions.map((item) => item?.value ?? null);
  const { model, tensors, values } = huggingFaceModel(config, {
    generationConfig: generationConfig ?? null,
    tokenizerConfig: tokenizerConfig ?? null,
    tokenizer: tokenizer ?? null,
  });
  const { weightMap, names } = weightFiles(folder);
  const files: PositionalFile[] = [];
  try {
    for (const name of names) files.push(PositionalFile.open(join(folder, name)));
    const named = nameTensors(collectPlaces(files, weightMap), tensors, model);
    addAbsentNorms(named, tensors, model, values);
    return resolveCheckpoint({
      format: "huggingface",
      name: displayName(folder),
      paths: [
        join(folder, "config.json"),
        ...companions.flatMap((item) => (item === null ? [] : [item.path])),
        ...(weightMap === null ? [] : [join(folder, INDEX_NAME)]),
        ...files.map((file) => file.path),
      ],
      model,
      configJson: config,
      files,
      ...named,
    });
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

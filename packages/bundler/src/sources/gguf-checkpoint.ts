import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import type { Checkpoint } from "./checkpoint.js";
import { type GgufHeader, readGgufHeader } from "./gguf-header.js";
import { type GgufTensorFacts, ggufArchitecture, ggufModel, huggingFaceConfig } from "./gguf-model.js";
import { canonicalNameFromGguf } from "./gguf-names.js";
import { PositionalFile } from "./positional-file.js";
import { resolveCheckpoint } from "./resolved-checkpoint.js";
import { type TensorPlace, TensorRowReader } from "./tensor-rows.js";

/** Most files of one split model: each stays open. The largest published ones have some tens. */
const SPLIT_COUNT_MAX = 1024;
const SPLIT_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;
const ROPE_FACTORS = "rope_freqs.weight";
/** Frequency tables that older converters stored and that follow from the metadata. */
const DERIVED_TENSOR = /^blk\.\d+\.attn_rot_embd$/;

/** The paths of all files of a split model, or the path itself. @throws CHECKPOINT_MISSING_SHARD, CHECKPOINT_LIMIT. */
function splitPaths(path: string): string[] {
  const match = SPLIT_NAME.exec(basename(path));
  if (match === null) return [path];
  const count = Number(match[3]);
  if (count < 1 || count > SPLIT_COUNT_MAX) {
    throw new FlashlmError(
      "CHECKPOINT_LIMIT",
      `${path} is one of ${count} files; at most ${SPLIT_COUNT_MAX}`,
      {
        count,
      },
    );
  }
  return Array.from({ length: count }, (_, index) => {
    const name = `${match[1]}-${String(index + 1).padStart(5, "0")}-of-${match[3]}.gguf`;
    const shard = join(dirname(path), name);
    if (!existsSync(shard)) {
      throw new FlashlmError(
        "CHECKPOINT_MISSING_SHARD",
        `${name} is missing beside ${basename(path)}; the model has ${count} files, download all of them`,
        { shard: name, count },
      );
    }
    return shard;
  });
}

function checkSplits(headers: readonly GgufHeader[], paths: readonly string[]): void {
  for (const [index, { metadata }] of headers.entries()) {
    const count = metadata["split.count"] ?? 0;
    const number = metadata["split.no"] ?? 0;
    const isWhole = headers.length === 1 && (count === 0 || count === 1);
    if (isWhole || (count === headers.length && number === index)) continue;
    throw new FlashlmError(
      headers.length === 1 ? "CHECKPOINT_MISSING_SHARD" : "CHECKPOINT_FORMAT",
      `${paths[index]} says it is file ${Number(number) + 1} of ${String(count)}, expected ${index + 1} of ${headers.length}; keep the published file names`,
      { path: paths[index]! },
    );
  }
}

function collectPlaces(
  files: readonly PositionalFile[],
  headers: readonly GgufHeader[],
): Map<string, TensorPlace> {
  const places = new Map<string, TensorPlace>();
  for (const [index, header] of headers.entries()) {
    for (const { name, type, shape, offsetBytes, lengthBytes } of header.tensors) {
      if (places.has(name)) {
        throw new FlashlmError(
          "CHECKPOINT_FORMAT",
          `${files[index]!.path}: ${name} is in an earlier file too`,
          {
            name,
          },
        );
      }
      const place = {
        file: files[index]!,
        offsetBytes,
        lengthBytes,
        sourceType: type,
        shape,
        pairedHeadDim: null,
      };
      if (!DERIVED_TENSOR.test(name)) places.set(name, place);
    }
  }
  return places;
}

function readContextFactors(places: Map<string, TensorPlace>, headDimMax: number): number[] | null {
  const place = places.get(ROPE_FACTORS);
  if (place === undefined) return null;
  const count = place.shape[0]!;
  if (place.shape.length !== 1 || count > headDimMax || place.sourceType !== "F32") {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${ROPE_FACTORS} is ${place.sourceType} [${place.shape.join(", ")}], expected F32 [rotary dimensions / 2]`,
      { name: ROPE_FACTORS },
    );
  }
  const factors = new Float32Array(count);
  new TensorRowReader().readRows(ROPE_FACTORS, place, 0, 1, factors);
  if (!factors.every((factor) => Number.isFinite(factor) && factor > 0)) {
    throw new FlashlmError("CHECKPOINT_FORMAT", `${ROPE_FACTORS} must hold finite numbers above 0`);
  }
  places.delete(ROPE_FACTORS);
  return [...factors];
}

function tensorFacts(places: Map<string, TensorPlace>): GgufTensorFacts {
  const embedding = places.get("token_embd.weight");
  if (embedding === undefined) {
    throw new FlashlmError(
      "CHECKPOINT_MISSING_TENSOR",
      "token_embd.weight is missing; the file holds no whole model",
      {
        name: "token_embd.weight",
      },
    );
  }
  return {
    vocabularySize: embedding.shape[0]!,
    hasHead: places.has("output.weight"),
    hasQueryKeyValueBias: places.has("blk.0.attn_q.bias"),
    hasOutputBias: places.has("blk.0.attn_output.bias"),
    hasFfnBias: places.has("blk.0.ffn_up.bias"),
    contextFactors: readContextFactors(places, 4096),
  };
}

function assemble(paths: readonly string[], files: readonly PositionalFile[]): Checkpoint {
  const headers = files.map((file) => readGgufHeader(file));
  checkSplits(headers, paths);
  const metadata = headers[0]!.metadata;
  const architecture = ggufArchitecture(metadata);
  const originals = collectPlaces(files, headers);
  const model = ggufModel(metadata, tensorFacts(originals));
  const { contextFactors, rotaryDim } = model.rope;
  if (contextFactors !== null && contextFactors.length !== rotaryDim / 2) {
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `${ROPE_FACTORS} has ${contextFactors.length} numbers, expected ${rotaryDim / 2}`,
      { name: ROPE_FACTORS },
    );
  }
  const places = new Map<string, TensorPlace>();
  const originalNames = new Map<string, string>();
  for (const [name, place] of originals) {
    const canonical = canonicalNameFromGguf(name) ?? name;
    const isPaired = architecture.hasPairedRotary && /\.attention\.(query|key)\./.test(canonical);
    places.set(canonical, isPaired ? { ...place, pairedHeadDim: model.attention.headDim } : place);
    originalNames.set(canonical, name);
  }
  const name = metadata["general.name"];
  return resolveCheckpoint({
    format: "gguf",
    name: typeof name === "string" && name !== "" ? name : basename(paths[0]!, ".gguf"),
    paths,
    model,
    configJson: huggingFaceConfig(model, metadata),
    ggufMetadata: metadata,
    files,
    places,
    originalNames,
  });
}

/**
 * Opens a GGUF file, or all files of a split model by any one of them. The result owns the open files.
 * @param path - absolute.
 * @throws CHECKPOINT_NOT_FOUND, CHECKPOINT_FORMAT, CHECKPOINT_TRUNCATED, CHECKPOINT_LIMIT, CHECKPOINT_MISSING_SHARD,
 * CHECKPOINT_MISSING_TENSOR, CHECKPOINT_SHAPE, CHECKPOINT_DTYPE, CHECKPOINT_UNSUPPORTED, FLASH_IO.
 */
export function openGguf(path: string): Checkpoint {
  const paths = splitPaths(path);
  const files: PositionalFile[] = [];
  try {
    for (const part of paths) files.push(PositionalFile.open(part));
    return assemble(paths, files);
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

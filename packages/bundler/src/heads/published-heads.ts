import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { SOURCE_TYPES } from "../codecs/index.js";
import { readGgufHeader } from "../sources/gguf-header.js";
import { PositionalFile } from "../sources/positional-file.js";
import { readSafetensorsHeader } from "../sources/safetensors-source.js";
import type { TensorPlace } from "../sources/tensor-rows.js";
import { type HeadRole, headRole, layerOfFile } from "./head-names.js";

/** Most files of a folder: one a layer, and some to spare. */
const FILE_COUNT_MAX = 1024;
const CONFIG_BYTES_MAX = 1 << 20;
const WEIGHTS = /\.(?:gguf|safetensors)$/;
const PICKLES = /\.(?:pt|pth|bin|pkl)$/;

/** Two matrices that score the neurons of a layer: `second * f(first * x)`. */
export interface PublishedHead {
  /** `[rank, hiddenSize]`. */
  readonly first: TensorPlace;
  /** `[neuronCount, rank]`. */
  readonly second: TensorPlace;
  readonly activation: "relu" | "none";
}

/** Heads as another program published them. The caller closes them. */
export interface PublishedHeads {
  /** File or folder name, for people. */
  readonly name: string;
  /** Whether they are named as PowerInfer does (`fc1`, `fc2`). */
  readonly isPowerInfer: boolean;
  /** Threshold that their file or `config.json` asks for, or null. */
  readonly threshold: number | null;
  /** By layer. */
  readonly heads: ReadonlyMap<number, PublishedHead>;
  /** Closes the files; idempotent. */
  close(): void;
}

interface Found {
  readonly role: HeadRole;
  readonly layerIndex: number;
  readonly name: string;
  readonly place: TensorPlace;
}

function refusePickle(path: string): never {
  throw new FlashlmError(
    "CHECKPOINT_UNSUPPORTED",
    `${path} holds pickles, which run code when they are read; convert each of them once with: python3 -c 'import sys, torch, safetensors.torch as s; s.save_file(torch.load(sys.argv[1], weights_only=True), sys.argv[2])' model_0.pt model_0.safetensors`,
    { path },
  );
}

function weightPaths(path: string): string[] {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status?.isFile()) return PICKLES.test(path) ? refusePickle(path) : [path];
  const names = status?.isDirectory() ? readdirSync(path).sort() : [];
  const weights = names.filter((name) => WEIGHTS.test(name));
  if (weights.length === 0 && names.some((name) => PICKLES.test(name))) refusePickle(path);
  if (weights.length > 0 && weights.length <= FILE_COUNT_MAX) return weights.map((name) => join(path, name));
  throw new FlashlmError(
    weights.length === 0 ? "CHECKPOINT_NOT_FOUND" : "CHECKPOINT_LIMIT",
    `expected a .gguf or .safetensors file at ${path}, or a folder with 1 to ${FILE_COUNT_MAX} of them, found ${weights.length}`,
    { path, fileCount: weights.length },
  );
}

/** Tensors of a file that are parts of heads, and its metadata. */
function readFile(file: PositionalFile): { found: Found[]; metadata: Readonly<Record<string, unknown>> } {
  const gguf = file.path.endsWith(".gguf") ? readGgufHeader(file) : null;
  const ofFile = layerOfFile(basename(file.path));
  const found = (gguf?.tensors ?? readSafetensorsHeader(file)).flatMap((tensor): Found[] => {
    const role = headRole(tensor.name);
    if (role === null) return [];
    const layerIndex = role.layerIndex ?? ofFile;
    if (layerIndex === null) {
      throw new FlashlmError(
        "CHECKPOINT_FORMAT",
        `neither ${file.path} nor its tensor ${tensor.name} say which layer it is of; name the file model_N.safetensors`,
        { path: file.path, name: tensor.name },
      );
    }
    const { offsetBytes, lengthBytes, shape, type: sourceType, name } = tensor;
    const place = { file, offsetBytes, lengthBytes, sourceType, shape, pairedHeadDim: null };
    return [{ role, layerIndex, name, place }];
  });
  return { found, metadata: gguf?.metadata ?? {} };
}

/** The parts of one layer's head, put together. */
function headOf(
  layerIndex: number,
  parts: ReadonlyMap<string, Found>,
): PublishedHead & { first: TensorPlace } {
  const bias = [...parts.values()].find(({ role }) => role.kind === "bias");
  if (bias !== undefined) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `${bias.name} is a bias, which heads of two matrices have no place for; export the head without it`,
      { name: bias.name },
    );
  }
  for (const [first, second, activation] of [
    ["fc1", "fc2", "relu"],
    ["0", "2", "relu"],
    ["0", "1", "none"],
  ] as const) {
    const [a, b] = [parts.get(`${first}.weight`), parts.get(`${second}.weight`)];
    if (a === undefined || b === undefined) continue;
    for (const { name, place } of [a, b]) {
      if (SOURCE_TYPES.has(place.sourceType)) continue;
      const message = `${name} is ${place.sourceType}; known are ${[...SOURCE_TYPES.keys()].join(", ")}`;
      throw new FlashlmError("CHECKPOINT_DTYPE", message, { name });
    }
    return { first: a.place, second: b.place, activation };
  }
  throw new FlashlmError(
    "CHECKPOINT_MISSING_TENSOR",
    `layer ${layerIndex} has ${[...parts.keys()].join(", ")} of a head; expected fc1 and fc2, 0 and 1, or 0 and 2`,
    { layerIndex },
  );
}

function collect(all: readonly Found[], path: string): Map<number, PublishedHead> {
  const layers = new Map<number, Map<string, Found>>();
  for (const found of all) {
    const parts = layers.get(found.layerIndex) ?? new Map<string, Found>();
    const key = `${found.role.part}.${found.role.kind}`;
    if (parts.has(key)) {
      const message = `${path} has ${key} of layer ${found.layerIndex} twice; give one set of heads`;
      throw new FlashlmError("CHECKPOINT_FORMAT", message, { path, name: found.name });
    }
    layers.set(found.layerIndex, parts.set(key, found));
  }
  if (layers.size === 0) {
    throw new FlashlmError(
      "CHECKPOINT_MISSING_TENSOR",
      `${path} has no tensors of predictors; expected names such as blk.0.fc1.weight or layers.0.fc2.weight, or fc1.weight in a file model_0.safetensors`,
      { path },
    );
  }
  return new Map(
    [...layers].sort(([a], [b]) => a - b).map(([layer, parts]) => [layer, headOf(layer, parts)]),
  );
}

/** `sparse_threshold` of a `config.json` beside the heads, or null. */
function configThreshold(folder: string): unknown {
  const path = join(folder, "config.json");
  if (!existsSync(path) || statSync(path).size > CONFIG_BYTES_MAX) return null;
  try {
    return (
      (JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown> | null)?.sparse_threshold ?? null
    );
  } catch {
    return null; // Of something else.
  }
}

/**
 * Opens predictors that other programs published: a GGUF of PowerInfer, a safetensors file, or a folder of them with one file a layer. Reads headers only.
 * @throws CHECKPOINT_NOT_FOUND, CHECKPOINT_FORMAT, CHECKPOINT_TRUNCATED, CHECKPOINT_LIMIT, CHECKPOINT_MISSING_TENSOR, CHECKPOINT_DTYPE,
 * CHECKPOINT_UNSUPPORTED for pickles and biases, FLASH_IO.
 */
export function openPublishedHeads(from: string): PublishedHeads {
  const path = resolve(from);
  const files: PositionalFile[] = [];
  const close = (): void => {
    for (const file of files) file.close();
  };
  try {
    const all = weightPaths(path).map((one) => {
      const file = PositionalFile.open(one);
      files.push(file);
      return readFile(file);
    });
    const found = all.flatMap((one) => one.found);
    const own = all.map(({ metadata }) => metadata["powerinfer.sparse_threshold"]);
    const folder = statSync(path).isDirectory() ? path : dirname(path);
    const threshold = own.find((value) => typeof value === "number") ?? configThreshold(folder);
    return {
      name: basename(path),
      isPowerInfer: found.some(({ role }) => role.part === "fc1"),
      threshold: typeof threshold === "number" && Number.isFinite(threshold) ? threshold : null,
      heads: collect(found, path),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

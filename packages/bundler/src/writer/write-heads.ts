import { link, mkdir, open } from "node:fs/promises";
import { join, resolve } from "node:path";
import {
  BUNDLE_FILES,
  type BundleHeads,
  type BundleTensor,
  FlashlmError,
  type HeadDtype,
  type HeadName,
  headMatrixDtype,
  rowBytes,
  type WeightDtype,
} from "@flashlm/contracts";
import { type BundleDocument, type BundleFileEntry, encodeBundleJson } from "../format/bundle-json.js";
import { type PlannedTensor, placeTensorGroups, tensorFileHeader } from "../format/bundle-plan.js";
import { crc32c } from "../format/crc32c.js";
import { HEAD_NAMES, headTensorName } from "../format/head-tensors.js";
import { checkLayout } from "../reader/layout-checks.js";
import { checkModelTensors } from "../reader/model-checks.js";
import { readBundle } from "../reader/open-bundle.js";
import { acquireBundleLock } from "./bundle-lock.js";
import {
  copyDurably,
  discardFolder,
  installFolder,
  recoverReplacement,
  refuseForeign,
  requireFreeSpace,
  writeDurably,
  writeError,
} from "./install-bundle.js";
import { writeAt } from "./layer-writer.js";
import { copyTensor } from "./permute-rows.js";

/** The weights of one head; rows of `b` and elements of `bias` are in the order of the records of the layer it names. */
export interface HeadWeights {
  /** `[rank, hiddenSize]`, in the `headMatrixDtype` of its rows. */
  readonly a: Uint8Array;
  /** `[neuronCount, rank]`, likewise. */
  readonly b: Uint8Array;
  /** f32 `[neuronCount]`. */
  readonly bias: Float32Array;
}

/** Options of {@link writeHeads}. */
export interface WriteHeadsOptions {
  /** Ranks, thresholds and figures; goes into `bundle.json`. */
  readonly heads: BundleHeads;
  /** What matrices are in whose rows its blocks fit (`headMatrixDtype`); the others are f16. Default "f16". */
  readonly dtype?: HeadDtype;
  /** Weights of one head; asked once per head in the order of the file, so that one is held at a time. */
  readonly weights: (head: HeadName, layerIndex: number) => HeadWeights;
}

const PREDICTOR_FILE: string = BUNDLE_FILES[2];

/**
 * Writes trained heads into the bundle at `bundlePath`, in place of those it had. Works in `bundlePath.rewrite` and installs that folder whole, so
 * the bundle is complete at every moment; files that stay as they are become hard links, so that only the predictor file needs space.
 * @throws BUNDLE_FORMAT for heads that do not fit the model, BUNDLE_CHECKSUM, BUNDLE_BUSY, BUNDLE_WRITE, and whatever `openBundle` throws.
 */
export async function writeHeads(bundlePath: string, options: WriteHeadsOptions): Promise<void> {
  const path = resolve(bundlePath);
  const partialPath = `${path}.rewrite`;
  const release = acquireBundleLock(path);
  let neededBytes = 0;
  try {
    await recoverReplacement(path);
    const { document } = await readBundle(path);
    const planned = planPredictorFile(document, options);
    neededBytes = planned.sizeBytes;
    await refuseForeign(partialPath);
    await discardFolder(partialPath);
    await requireFreeSpace(path, neededBytes);
    await mkdir(partialPath, { recursive: true });
    for (const file of document.files) {
      if (file.name !== PREDICTOR_FILE) await linkOrCopy(join(path, file.name), join(partialPath, file.name));
    }
    const predictor = await writePredictorFile(path, partialPath, document, planned, options);
    const next = nextDocument(document, predictor, planned.sizeBytes, options.heads);
    checkLayout(next, path);
    checkModelTensors(next, path);
    await writeDurably(join(partialPath, "bundle.json"), encodeBundleJson(next));
    await installFolder(partialPath, path);
  } catch (cause) {
    await discardFolder(partialPath).catch(() => undefined);
    throw writeError(cause, partialPath, neededBytes);
  } finally {
    release();
  }
}

/** Weight files are never changed in place, so a second name for one is as good as a copy. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyDurably(from, to));
}

interface PlannedPredictor {
  readonly header: Uint8Array;
  readonly tensors: readonly PlannedTensor[];
  readonly sizeBytes: number;
}

function planPredictorFile(document: BundleDocument, options: WriteHeadsOptions): PlannedPredictor {
  const { layers, model, tensors } = document;
  const kept = tensors.filter(
    ({ fileIndex, name }) => fileIndex === 2 && !/\.(lowrank|lookahead)\./.test(name),
  );
  const groups = layers.flatMap((_, layerIndex) => [
    ...["shadow", "exact"].map((kind) =>
      kept
        .filter(({ name }) => name.startsWith(`layers.${layerIndex}.${kind}.`))
        .sort((a, b) => a.offsetBytes - b.offsetBytes),
    ),
    ...HEAD_NAMES.map((head) => headShapes(head, layerIndex, options, model.hiddenSize, layers)),
  ]);
  const placed = placeTensorGroups(
    groups.filter((group) => group.length > 0),
    2,
  );
  const header = tensorFileHeader(placed.tensors, placed.dataBytes);
  return {
    header,
    tensors: placed.tensors.map((tensor) => ({ ...tensor, offsetBytes: tensor.offsetBytes + header.length })),
    sizeBytes: header.length + placed.dataBytes,
  };
}

function headShapes(
  head: HeadName,
  layerIndex: number,
  { heads, dtype = "f16" }: WriteHeadsOptions,
  hiddenSize: number,
  layers: BundleDocument["layers"],
): { name: string; dtype: WeightDtype; rowCount: number; columnCount: number }[] {
  const rank = heads[head].find((candidate) => candidate.layerIndex === layerIndex)?.rank;
  const target = layers[head === "lookahead" ? layerIndex + 1 : layerIndex];
  if (rank === undefined || target === undefined) return [];
  const { neuronCount } = target;
  const name = (part: "a.weight" | "b.weight" | "bias"): string => headTensorName(head, layerIndex, part);
  const matrix = (part: "a.weight" | "b.weight", rowCount: number, columnCount: number) => {
    return { name: name(part), dtype: headMatrixDtype(dtype, columnCount), rowCount, columnCount };
  };
  return [
    matrix("a.weight", rank, hiddenSize),
    matrix("b.weight", neuronCount, rank),
    { name: name("bias"), dtype: "f32", rowCount: 1, columnCount: neuronCount },
  ];
}

/** Copies what stays and asks for the weights of each head; returns the tensors with their checksums. */
async function writePredictorFile(
  path: string,
  partialPath: string,
  document: BundleDocument,
  planned: PlannedPredictor,
  options: WriteHeadsOptions,
): Promise<readonly BundleTensor[]> {
  const old = new Map(document.tensors.map((tensor) => [tensor.name, tensor]));
  const to = await open(join(partialPath, PREDICTOR_FILE), "w");
  const hadFile = document.files.some((file) => file.name === PREDICTOR_FILE);
  const from = hadFile ? await open(join(path, PREDICTOR_FILE), "r") : null;
  const written: BundleTensor[] = [];
  try {
    await to.truncate(planned.sizeBytes); // Padding is zeros.
    await writeAt(to, planned.header, 0);
    let weights = new Map<string, Uint8Array>();
    for (const tensor of planned.tensors) {
      const match = /^layers\.(\d+)\.(lowrank|lookahead)\./.exec(tensor.name);
      if (match === null) {
        const source = old.get(tensor.name)!;
        written.push({ ...tensor, crc32c: await copyTensor(from!, to, source, tensor.offsetBytes) });
        continue;
      }
      if (!weights.has(tensor.name)) weights = headBytes(options, match[2] as HeadName, Number(match[1]));
      const bytes = weights.get(tensor.name)!;
      if (bytes.length !== tensor.rowCount * rowBytes(tensor.dtype, tensor.columnCount)) {
        const message = `${tensor.name} needs ${tensor.lengthBytes} bytes for [${tensor.rowCount}, ${tensor.columnCount}] in ${tensor.dtype}, got ${bytes.length}`;
        throw new FlashlmError("BUNDLE_FORMAT", message, { name: tensor.name });
      }
      await writeAt(to, bytes, tensor.offsetBytes);
      written.push({ ...tensor, crc32c: crc32c(bytes) });
    }
    await to.sync();
  } finally {
    await to.close();
    await from?.close();
  }
  return written;
}

function headBytes(options: WriteHeadsOptions, head: HeadName, layerIndex: number): Map<string, Uint8Array> {
  const { a, b, bias } = options.weights(head, layerIndex);
  return new Map([
    [headTensorName(head, layerIndex, "a.weight"), a],
    [headTensorName(head, layerIndex, "b.weight"), b],
    [headTensorName(head, layerIndex, "bias"), new Uint8Array(bias.buffer, bias.byteOffset, bias.byteLength)],
  ]);
}

function nextDocument(
  document: BundleDocument,
  predictor: readonly BundleTensor[],
  sizeBytes: number,
  heads: BundleHeads,
): BundleDocument {
  const entry: BundleFileEntry = { name: PREDICTOR_FILE, sizeBytes, crc32c: null };
  const others = document.files.filter((file) => file.name !== PREDICTOR_FILE);
  return {
    ...document,
    tensors: [...document.tensors.filter((tensor) => tensor.fileIndex !== 2), ...predictor],
    files: [...others, entry],
    heads,
  };
}

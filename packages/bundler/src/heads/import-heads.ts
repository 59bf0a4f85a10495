import type { BundleHead, BundleIndex } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { decodeRow } from "../codecs/index.js";
import { openBundle } from "../reader/open-bundle.js";
import { PositionalFile } from "../sources/positional-file.js";
import { type HeadWeights, writeHeads } from "../writer/write-heads.js";
import { headMatrix } from "./head-matrix.js";
import { openPublishedHeads, type PublishedHead, type PublishedHeads } from "./published-heads.js";

/** What a head reads: the FFN's input behind its norm, as flashlm's heads do, or the residual stream that the norm reads. */
export type HeadInput = "normed" | "residual";

/** Options of {@link importHeads}. */
export interface ImportHeadsOptions {
  /** GGUF or safetensors file, or a folder of them. */
  readonly from: string;
  /** PowerInfer's heads read the residual stream, which is their default; others must say. */
  readonly input?: HeadInput;
  /** Neurons whose score is above it are predicted. Default: what the heads' file or `config.json` says, else 0. */
  readonly threshold?: number;
}

/** What was imported. */
export interface ImportedHeads {
  readonly name: string;
  /** By layer. */
  readonly ranks: readonly number[];
  readonly activation: "relu" | "none";
  readonly input: HeadInput;
  readonly threshold: number;
}

/**
 * Writes heads that another program trained for this model into the bundle at `bundlePath`, in place of those it had; there are no look-ahead heads
 * then, and no figures: measure them with `flashlm eval`. Weights become f16.
 * @throws CHECKPOINT_SHAPE for heads of another model, CHECKPOINT_UNSUPPORTED where the input cannot be had, what opening the heads throws
 * (CHECKPOINT_*, FLASH_IO), and what {@link writeHeads} throws.
 */
export async function importHeads(bundlePath: string, options: ImportHeadsOptions): Promise<ImportedHeads> {
  const bundle = await openBundle(bundlePath);
  const published = openPublishedHeads(options.from);
  try {
    const heads = matchHeads(bundle, published);
    const input = inputOf(published, options.input);
    const threshold = options.threshold ?? published.threshold ?? 0;
    const norms = bundle.manifest.layers.map((_, layerIndex) =>
      input === "normed" ? null : foldableNorm(bundle, layerIndex, threshold),
    );
    const lowrank = heads.map(
      ({ first, activation }, layerIndex): BundleHead => ({
        layerIndex,
        rank: first.shape[0]!,
        ...(activation === "relu" ? { activation } : {}),
        points: [],
      }),
    );
    await writeHeads(bundlePath, {
      heads: {
        text: `imported from ${published.name}`,
        tokenCount: 0,
        heldOutTokenCount: 0,
        lowrank,
        lookahead: [],
      },
      weights: (_, layerIndex) =>
        weightsOf(heads[layerIndex]!, bundle.neuronOrder(layerIndex), norms[layerIndex]!, threshold),
    });
    const { activation } = heads[0]!;
    return { name: published.name, ranks: lowrank.map(({ rank }) => rank), activation, input, threshold };
  } finally {
    published.close();
  }
}

/** A head for every layer, of the model's shape. */
function matchHeads({ manifest }: BundleIndex, { heads, name }: PublishedHeads): PublishedHead[] {
  const { hiddenSize } = manifest.model;
  const extra = [...heads.keys()].find((layerIndex) => layerIndex >= manifest.layers.length);
  if (extra !== undefined) {
    const message = `${name} has a head of layer ${extra}, but the model has ${manifest.layers.length} layers; give the heads of this model`;
    throw new FlashlmError("CHECKPOINT_SHAPE", message, { layerIndex: extra });
  }
  return manifest.layers.map(({ neuronCount }, layerIndex) => {
    const head = heads.get(layerIndex);
    if (head === undefined) {
      const message = `${name} has heads of ${heads.size} layers and none of layer ${layerIndex}; every layer needs one`;
      throw new FlashlmError("CHECKPOINT_MISSING_TENSOR", message, { layerIndex });
    }
    const [first, second] = [head.first.shape, head.second.shape];
    const fits =
      first.length === 2 &&
      second.length === 2 &&
      first[1] === hiddenSize &&
      second[0] === neuronCount &&
      first[0] === second[1];
    if (fits) return head;
    throw new FlashlmError(
      "CHECKPOINT_SHAPE",
      `the head of layer ${layerIndex} in ${name} is [${first.join(", ")}] and [${second.join(", ")}], expected [rank, ${hiddenSize}] and [${neuronCount}, rank]; give the heads of this model`,
      { layerIndex },
    );
  });
}

function inputOf(published: PublishedHeads, asked: HeadInput | undefined): HeadInput {
  if (asked !== undefined) return asked;
  if (published.isPowerInfer) return "residual";
  throw new FlashlmError(
    "CHECKPOINT_UNSUPPORTED",
    `${published.name} does not say what its heads read: give --input normed for the FFN's input behind its norm, or --input residual. Deja Vu's own read the layer's input before attention, which cannot be imported`,
    { name: published.name },
  );
}

/**
 * The weights of the norm before the FFN. A head on the residual stream r scores as one on the normed input does, up to a factor above 0 that is each
 * token's root mean square: `normed = r / rms * weight`, so dividing the columns by `weight` is exact where the sign decides. A norm that
 * takes the mean away, or a threshold other than 0, leaves no such factor.
 */
function foldableNorm(bundle: BundleIndex, layerIndex: number, threshold: number): Float32Array {
  const refuse = (reason: string): never => {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `heads on the residual stream cannot be imported: ${reason}; train heads with flashlm train-predictor, or give --input normed if these read the FFN's input`,
      { layerIndex },
    );
  };
  const name = `layers.${layerIndex}.ffn_norm.weight`;
  if (bundle.manifest.model.norm.kind !== "rms") refuse("the model's norms take the mean away");
  if (!bundle.hasTensor(name)) refuse("the model has no norm of its own before the FFN");
  if (threshold !== 0)
    refuse(`their threshold is ${threshold}, and only the sign of a score survives the norm`);
  const { fileIndex, offsetBytes, lengthBytes, columnCount, dtype } = bundle.tensor(name);
  const bytes = new Uint8Array(lengthBytes);
  const file = PositionalFile.open(bundle.filePaths[fileIndex]!);
  try {
    file.readInto(bytes, offsetBytes);
  } finally {
    file.close();
  }
  const weights = new Float32Array(columnCount);
  decodeRow(dtype, bytes, weights);
  if (weights.some((weight) => weight === 0)) refuse("a weight of the norm before the FFN is 0");
  return weights;
}

/** f16 matrices and the bias of one head; scores come out multiplied by a power of two, and so does the threshold. */
function weightsOf(
  { first, second }: PublishedHead,
  order: Uint32Array,
  norm: Float32Array | null,
  threshold: number,
): HeadWeights {
  const a = headMatrix(first, null, norm);
  const b = headMatrix(second, order, null);
  const bias = new Float32Array(order.length).fill(-threshold * a.scale * b.scale);
  return { a: a.bytes, b: b.bytes, bias };
}

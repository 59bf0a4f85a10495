import type { Extent } from "./flash-reader.js";
import { isBlockDtype, type WeightDtype } from "./memory.js";
import type { ModelConfig } from "./model.js";
import type { ByteCount, ByteOffset, LayerIndex, NeuronId } from "./units.js";

/** The vectors of a neuron record. A plain FFN has no gate. */
export type NeuronPart = "gate" | "up" | "down";

/** Where a vector of `hiddenSize` weights stands within a record; offsets are multiples of 16. */
export interface RecordPart {
  readonly part: NeuronPart;
  readonly dtype: WeightDtype;
  readonly offsetBytes: ByteOffset;
  readonly lengthBytes: ByteCount;
}

/** Layout of every neuron record of a bundle. `strideBytes` is a multiple of 16, and of 512 where that costs at most a sixteenth. */
export interface RecordLayout {
  readonly hiddenSize: number;
  readonly strideBytes: ByteCount;
  readonly parts: readonly RecordPart[];
}

/** Files of a bundle that weights are read from, in `fileIndex` order. */
export const BUNDLE_FILES = ["resident.safetensors", "neurons.safetensors", "predictor.safetensors"] as const;
/** Index into {@link BUNDLE_FILES}. */
export type BundleFileIndex = 0 | 1 | 2;

/** A tensor of a bundle, row-major `[rowCount, columnCount]` (vectors have one row). Starts on 64 bytes. */
export interface BundleTensor {
  readonly name: string;
  readonly dtype: WeightDtype;
  readonly rowCount: number;
  readonly columnCount: number;
  readonly fileIndex: BundleFileIndex;
  readonly offsetBytes: ByteOffset;
  readonly lengthBytes: ByteCount;
  readonly crc32c: number;
}

/** Where a layer's first record, a block of tensors and a file's data begin in a bundle: direct reads want whole pages. */
export const BUNDLE_PAGE_BYTES = 4096;
/** Where every tensor of a bundle begins: one cache line, the widest vector load. */
export const TENSOR_ALIGNMENT_BYTES = 64;

/** FFN records of one layer: record `n` begins at `offsetBytes + n * strideBytes` of `neurons.safetensors`. */
export interface BundleLayer {
  readonly neuronCount: number;
  /** Multiple of {@link BUNDLE_PAGE_BYTES}. */
  readonly offsetBytes: ByteOffset;
}

/** Statistics that calibration wrote; per layer. */
export interface BundleCalibration {
  readonly text: string;
  readonly tokenCount: number;
  /** Share of tokens that each record's neuron was active or kept for, hottest first. */
  readonly activeShareByLayer: readonly number[];
  /** Threshold on `abs(act(gate))` by kept share, e.g. `{"0.5": [..one per layer]}`. */
  readonly gateThresholds: Readonly<Record<string, readonly number[]>>;
}

/** Which neurons a trained head names: those of the layer whose FFN input it reads, or those of the next layer. */
export type HeadName = "lowrank" | "lookahead";

/** What the two matrices of a head are stored in; its bias is f32. */
export type HeadDtype = Extract<WeightDtype, "f16" | "q8_0">;

/** The dtype of a head's matrix with rows of `columnCount`: the one asked for, or f16 where its blocks of 32 do not fit the rows. */
export function headMatrixDtype(dtype: HeadDtype, columnCount: number): HeadDtype {
  return isBlockDtype(dtype) && columnCount % 32 !== 0 ? "f16" : dtype;
}

/** What a trained head reaches on held-out tokens with one threshold. */
export interface HeadPoint {
  /** Share of the layer's contribution `abs(h) * norm(down)` that the threshold was chosen to miss. */
  readonly missedTarget: number;
  /** Neurons whose score is above it are predicted. */
  readonly threshold: number;
  /** Predicted / all. */
  readonly predictedShare: number;
  /** Missed / active. */
  readonly falseNegativeShare: number;
  /** Predicted / inactive. */
  readonly falsePositiveShare: number;
  /** Share of the contribution that was really missed. */
  readonly missedShare: number;
}

/** A trained head: `score = b * f(a * x) + bias`, x the FFN's input of layer `layerIndex`. */
export interface BundleHead {
  readonly layerIndex: LayerIndex;
  readonly rank: number;
  /** The function f; absent: none. Heads of other programs have a ReLU. */
  readonly activation?: "relu";
  /** By ascending `missedTarget`; empty for imported heads, whose threshold is 0. */
  readonly points: readonly HeadPoint[];
}

/** Trained heads of a bundle. `lowrank` has one per layer, `lookahead` one per layer but the last. */
export interface BundleHeads {
  /** What they were trained on, or where they come from; for people. */
  readonly text: string;
  readonly tokenCount: number;
  readonly heldOutTokenCount: number;
  readonly lowrank: readonly BundleHead[];
  readonly lookahead: readonly BundleHead[];
}

/** `bundle.json`, decoded and checked. */
export interface BundleManifest {
  readonly formatVersion: 1;
  /** dtype name that was asked for: the dtype of most weights (q4_0 and q4_1 mean gate and up so, the rest q8_0 unless the checkpoint has it in these blocks). */
  readonly dtype: WeightDtype;
  /** dtype of attention projections, token embedding and head, where another one than {@link dtype} was asked for them. Absent where they follow it. */
  readonly residentDtype?: WeightDtype | undefined;
  /** Why this dtype, for people. */
  readonly dtypeReason: string;
  /** Requantisation that changed weights, for people; empty when nothing did. */
  readonly lossy: readonly string[];
  readonly model: ModelConfig;
  readonly record: RecordLayout;
  readonly layers: readonly BundleLayer[];
  readonly tensors: readonly BundleTensor[];
  readonly source: {
    readonly format: "gguf" | "huggingface";
    readonly name: string;
    readonly contentHash: string;
  };
  readonly calibration: BundleCalibration | null;
  /** Absent until heads are trained or imported. */
  readonly heads?: BundleHeads | undefined;
}

/**
 * An open bundle: extents and checksums, no weights.
 *
 * Names of resident tensors: `embedding.weight`, `embedding.projection.weight`, `position.weight`, `head.projection.weight`,
 * `head.weight` (absent when tied), `head.bias`, `final_norm.{weight,bias}`; per layer `layers.N.` + `attention.{query,key,value,output}.{weight,bias}`,
 * `attention.{query,key}_norm.{weight,bias}`, `{attention,attention_output,ffn,ffn_output}_norm.{weight,bias}`, `ffn.{gate,up,down}.bias`;
 * a model has those that its `ModelConfig` names. Norms and biases are f32.
 * The tensors of one layer are contiguous, `layers.N` after `layers.N-1`, each layer's first one on a multiple of 4096.
 * Of the predictor file: `layers.N.shadow.{gate,up}.weight` (q4_0), `layers.N.shadow.down_norm` (f32, `[1, neuronCount]`),
 * `layers.N.exact.{gate,up}.weight` (the record's dtype), `layers.N.exact.{gate,up}.bias` (f32, `[1, neuronCount]`), all in the order of the records; a layer's `shadow.*` are contiguous and start on 4096, and so its `exact.*`.
 * Trained heads, likewise: `layers.N.lowrank.a.weight` (`[rank, hiddenSize]`), `.b.weight` (`[neuronCount, rank]`), each f16 or q8_0, `.bias` (f32, `[1, neuronCount]`), and
 * `layers.N.lookahead.*`, which read layer N's FFN input and name neurons of layer N + 1; the last layer has none.
 */
export interface BundleIndex {
  readonly contractVersion: 1;
  /** Folder of the bundle. */
  readonly path: string;
  readonly manifest: BundleManifest;
  /** Absolute paths in `fileIndex` order; a bundle without predictor tensors has two. */
  readonly filePaths: readonly string[];
  /** @throws BUNDLE_UNKNOWN_TENSOR. */
  tensor(name: string): BundleTensor;
  /** Whether {@link BundleIndex.tensor} would find the name. */
  hasTensor(name: string): boolean;
  /** Where a neuron's record stands in `neurons.safetensors`. */
  neuronExtent(layerIndex: LayerIndex, neuronId: NeuronId): Extent;
  /** CRC32C (Castagnoli) of each record's `strideBytes`, `[neuronCount]`. Borrowed. */
  recordChecksums(layerIndex: LayerIndex): Uint32Array;
  /** Original index of each record's neuron in the checkpoint, `[neuronCount]`; identity before calibration. Borrowed. */
  neuronOrder(layerIndex: LayerIndex): Uint32Array;
  /** Bytes of resident tensors and records: what `--memory 50%` is half of. */
  readonly weightBytes: ByteCount;
}

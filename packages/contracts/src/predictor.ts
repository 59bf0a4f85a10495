import type { BundleManifest } from "./bundle.js";
import type { KernelProgram, KernelSet, WeightRef, WordRef } from "./kernel-set.js";
import type { MemoryHandle } from "./memory.js";
import type { LayerIndex } from "./units.js";

/** Receives a prediction; allocated by the caller. */
export interface PredictionTarget {
  /** u8 `[tokenCount, neuronCount]` in kernel memory: 1 for a predicted neuron. The predictor writes every element. */
  readonly mask: Uint8Array;
}

/** What a predictor is given when it is made. Everything it needs is allocated now, nothing later. */
export interface PredictorContext {
  readonly kernels: KernelSet;
  readonly manifest: BundleManifest;
  readonly tokenCapacity: number;
  /** Word that holds the number of tokens when `predictInto` runs. */
  readonly tokenCount: WordRef;
  /** FFN input `[T, hiddenSize]` f32, after its norm. */
  readonly hidden: MemoryHandle;
  /** A tensor named in the part's `tensorNames`; the runtime decides whether it is resident or streamed. */
  tensor(name: string): WeightRef;
}

/**
 * Says which neurons of a layer will fire. Pure: same hidden state, same answer, for one token or many.
 */
export interface SparsityPredictor {
  readonly contractVersion: 1;
  readonly name: string;
  /** Program that must have run (on the layer's hidden state) before `predictInto`, or null when none is needed. */
  scoreProgram(layerIndex: LayerIndex): KernelProgram | null;
  /** Writes the mask of `tokenCount` tokens and returns the number of neurons predicted over all of them. */
  predictInto(layerIndex: LayerIndex, tokenCount: number, target: PredictionTarget): number;
  /**
   * Scores of the layer's neurons for the one token that its `scoreProgram` last ran on: the higher, the likelier a neuron fires, also where it is not
   * predicted. `[neuronCount]`, borrowed until the next program. For caches (`NeuronCache.foresee`). Absent where nothing is known of neurons that do not fire.
   */
  scores?(layerIndex: LayerIndex): Float32Array;
  /**
   * Look-ahead, for reads only: program that must have run on the layer's hidden state before `lookAheadInto` of that layer, or null where its
   * `scoreProgram` is enough and in the last layer. Absent in predictors without look-ahead.
   */
  lookAheadProgram?(layerIndex: LayerIndex): KernelProgram | null;
  /**
   * Guesses the neurons of layer `layerIndex + 1` for the one token whose FFN input of `layerIndex` was scored last. Returns how many.
   * A guess: it decides what to read early, never what is computed, but see `PredictorPart.lookAheadIsExact`.
   * @param ids - filled from the front, ascending; `[neuronCount of layerIndex + 1]`, allocated by the caller.
   * @param margin - how much surer than usual a guess must be, in log odds, at least 0: a larger one names some of the neurons of a smaller one.
   * @throws PREDICTOR_SHAPE for a layer that has none after it, or too few ids.
   */
  lookAheadInto?(layerIndex: LayerIndex, ids: Uint32Array, margin: number): number;
  /** What {@link scores} are, of layer `layerIndex + 1`, as the look-ahead head of `layerIndex` last scored them. Absent where {@link scores} are. */
  lookAheadScores?(layerIndex: LayerIndex): Float32Array;
}

/** A predictor as something that can be chosen: what it is, what it needs, how to make it. */
export interface PredictorPart {
  readonly name: string;
  /** True when no neuron with a non-zero activation is ever left out. */
  readonly lossless: boolean;
  /** True when every neuron is always predicted, so that reads need not wait for the hidden state. */
  readonly dense: boolean;
  /** True when its predictors offer look-ahead, and the runtime shall read by it. Absent: false. */
  readonly lookAhead?: boolean;
  /**
   * True when a guess with no margin names what is computed a layer later, to the neuron: none of it is read in vain, and nothing is left to be
   * read late but in the first layer. Absent: false.
   */
  readonly lookAheadIsExact?: boolean;
  /** Predictor tensors of one layer, without their `layers.N.` prefix, in the order of the file; a layer may lack some (the last one has no look-ahead). @throws PREDICTOR_NOT_AVAILABLE as `create` does. */
  tensorNames(manifest: BundleManifest, layerIndex: LayerIndex): readonly string[];
  /**
   * Share of a layer's neurons that a token is expected to be predicted, from 0 to 1, for memory plans and forecasts; null where
   * nothing is known. Absent: null.
   */
  expectedShare?(manifest: BundleManifest, layerIndex: LayerIndex): number | null;
  /** f32 scratch bytes that `create` will allocate in kernel memory. */
  scratchBytes(manifest: BundleManifest, tokenCapacity: number): number;
  /** @throws PREDICTOR_NOT_AVAILABLE where the model has no such prediction, PREDICTOR_OPTION for a bad option. */
  create(context: PredictorContext): SparsityPredictor;
}

import { rectifiedMoments } from "./normal-distribution.js";
import { popularityThresholds } from "./popularity.js";
import { activeTarget, type SyntheticPreset } from "./presets.js";
import { combineSeeds } from "./random.js";

/** Standard deviation of an embedding's elements: well above the smallest normal binary16 and the norms' epsilon. */
export const EMBEDDING_DEVIATION = 0.05;
/** Variance of a learned position embedding, relative to the token's. */
export const POSITION_VARIANCE = 0.01;
/** What averaging over a context leaves of the values' variance: their slow part. */
const CONTEXT_VARIANCE = 0.2;

/** Scales of one layer. Inputs of projections have unit variance, because a norm stands before them. */
export interface LayerPlan {
  /** Per neuron, in deviations of its pre-activation. */
  readonly thresholds: Float64Array;
  /** Of every projection that reads a normed input: outputs have unit variance. */
  readonly inputDeviation: number;
  readonly attentionOutputDeviation: number;
  readonly downDeviation: number;
  /** Deviation of the residual stream before the FFN, relative to the embedding's. */
  readonly residualDeviation: number;
}

/** How the residual stream grows: each layer adds a little, so that deep inputs are the embedding's plus what layers made of it. */
export function planLayer(preset: SyntheticPreset, layerIndex: number, seed: number): LayerPlan {
  const { shape, targets } = preset;
  const addedVariance = preset.layersVariance / shape.layerCount;
  const thresholds = popularityThresholds(
    shape.neuronCount,
    activeTarget(targets, layerIndex, shape.layerCount),
    targets.popularityExponent,
    combineSeeds(seed, 0x9090, layerIndex),
  );
  const activation = shape.family === "persimmon" ? "relu2" : "relu";
  const energy = thresholds.reduce(
    (sum, threshold) => sum + rectifiedMoments(threshold, activation).meanSquare,
    0,
  );
  return {
    thresholds,
    inputDeviation: 1 / Math.sqrt(shape.hiddenSize),
    attentionOutputDeviation:
      EMBEDDING_DEVIATION * Math.sqrt(addedVariance / (CONTEXT_VARIANCE * shape.hiddenSize)),
    downDeviation: EMBEDDING_DEVIATION * Math.sqrt(addedVariance / energy),
    residualDeviation: Math.sqrt(1 + (2 * layerIndex + 1) * addedVariance),
  };
}

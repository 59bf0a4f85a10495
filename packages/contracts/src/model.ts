import type { TokenId } from "./units.js";

/** FFN activation functions. `relu2` is the square of ReLU; `gelu` is the exact form. */
export type ActivationName = "silu" | "relu" | "relu2" | "gelu" | "gelu_tanh";

/** Activation of the gate (gated FFN) or of the up projection (plain FFN). */
export interface FfnActivation {
  readonly name: ActivationName;
  /** FATReLU: results at or below it become zero. 0 for all others. */
  readonly threshold: number;
}

/** Scaling of rotary frequencies, by its Hugging Face name. */
export type RopeScaling =
  | { readonly kind: "none" }
  | { readonly kind: "linear"; readonly factor: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContextLength: number;
    }
  | {
      readonly kind: "yarn";
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly attentionFactor: number;
      readonly originalContextLength: number;
      /** false: the range of blended frequencies is not rounded to whole pairs; absent: it is. */
      readonly truncate?: boolean;
    }
  /** Sequences longer than the original context get a larger base (NTK). */
  | { readonly kind: "dynamic"; readonly factor: number; readonly originalContextLength: number }
  /** One divisor per rotary pair, for sequences within the original context and for longer ones; cosines and sines times `attentionFactor`. */
  | {
      readonly kind: "longrope";
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      readonly attentionFactor: number;
      readonly originalContextLength: number;
    };

/** A norm of a layer: on the input of attention or FFN, or on its output. */
export type LayerNormName = "attention_norm" | "attention_output_norm" | "ffn_norm" | "ffn_output_norm";

/**
 * What the runtime needs to know of a model, in one vocabulary whatever the checkpoint called it.
 * The bundler writes it (`bundle.json`, key `model`); the runtime's family registry reads it.
 * Optional members are absent where a model has nothing of the kind, so that bundles from before they existed stay readable.
 */
export interface ModelConfig {
  /** Family in the runtime's registry: "llama" serves Llama, Mistral, Bamboo and their ReLU forms. */
  readonly family: string;
  /** The checkpoint's own name for its architecture. */
  readonly architecture: string;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly vocabularySize: number;
  /** Longest context the model was made for. */
  readonly contextLengthMax: number;
  readonly attention: {
    readonly headCount: number;
    readonly keyValueHeadCount: number;
    readonly headDim: number;
    /** Positions a token may look back at, itself included; null is all. */
    readonly slidingWindow: number | null;
    /** `[layerCount]`: the layers that have `slidingWindow`; absent: all. */
    readonly windowLayers?: readonly boolean[];
    readonly queryKeyValueBias: boolean;
    readonly outputBias: boolean;
    /** Factor on scores; absent: 1 / sqrt(headDim). */
    readonly scale?: number;
    /** Scores s become softCap * tanh(s / softCap), after the scale. */
    readonly softCap?: number;
    /** Norm of queries and keys before they are rotated, of the kind of `norm`: per head, or over all heads together. */
    readonly queryKeyNorm?: "head" | "vector";
    /** ALiBi, `[headCount]`: a head's score gains slope * (key position - query position), after the scale. */
    readonly alibiSlopes?: readonly number[];
  };
  readonly rope: {
    readonly theta: number;
    /** Rotated part of each head; 0 where positions are not rotary. */
    readonly rotaryDim: number;
    readonly scaling: RopeScaling;
    readonly contextFactors: readonly number[] | null;
    /** `[layerCount]`: the layers that rotate; absent: all. */
    readonly rotaryLayers?: readonly boolean[];
    /** Rotation of the layers of `windowLayers` where it differs. */
    readonly window?: { readonly theta: number; readonly scaling: RopeScaling };
  };
  readonly ffn: {
    readonly kind: "gated" | "plain";
    readonly neuronCount: number;
    readonly activation: FfnActivation;
    /** dReLU: ReLU on the up projection too. */
    readonly upActivation: "none" | "relu";
    readonly bias: boolean;
  };
  readonly norm: {
    readonly kind: "rms" | "layer";
    readonly epsilon: number;
    /** Whether norms have biases; absent: those of kind "layer" do. */
    readonly bias?: boolean;
    /** Norms of every layer; absent: `attention_norm` and `ffn_norm`. */
    readonly perLayer?: readonly LayerNormName[];
    /** false: there is no norm before the head. */
    readonly final?: boolean;
  };
  /** Between token and residual stream; absent: a row of `hiddenSize` as it is. */
  readonly embedding?: {
    /** Length of a row; `embedding.projection.weight` and `head.projection.weight` lead to `hiddenSize` and back. */
    readonly width?: number;
    /** Factor on rows. */
    readonly scale?: number;
    /** Learned positions that are added, `position.weight`; contexts cannot be longer. */
    readonly positionCount?: number;
  };
  /** Behind the product with the head's matrix; absent: logits as they are. */
  readonly head?: {
    readonly bias?: boolean;
    /** Logits l become softCap * tanh(l / softCap). */
    readonly softCap?: number;
  };
  readonly tiedEmbeddings: boolean;
  readonly tokens: {
    readonly bos: TokenId | null;
    readonly eos: readonly TokenId[];
    readonly addBos: boolean;
  };
}

/** True when an activation is exactly zero for part of its inputs, so that skipping is lossless. */
export function isExactlySparse(ffn: ModelConfig["ffn"]): boolean {
  return ffn.activation.name === "relu" || ffn.activation.name === "relu2";
}

/** Whether the model's norms have biases. */
export function hasNormBias(norm: ModelConfig["norm"]): boolean {
  return norm.bias ?? norm.kind === "layer";
}

/** Positions that tokens of a layer look back at, themselves included; null is all. */
export function layerWindow(model: ModelConfig, layerIndex: number): number | null {
  const { slidingWindow, windowLayers } = model.attention;
  return (windowLayers?.[layerIndex] ?? true) ? slidingWindow : null;
}

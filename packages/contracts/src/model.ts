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
    };

/**
 * What the runtime needs to know of a model, in one vocabulary whatever the checkpoint called it.
 * The bundler writes it (`bundle.json`, key `model`); the runtime's family registry reads it.
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
    readonly queryKeyValueBias: boolean;
    readonly outputBias: boolean;
  };
  readonly rope: {
    readonly theta: number;
    readonly rotaryDim: number;
    readonly scaling: RopeScaling;
    readonly contextFactors: readonly number[] | null;
  };
  readonly ffn: {
    readonly kind: "gated" | "plain";
    readonly neuronCount: number;
    readonly activation: FfnActivation;
    /** dReLU: ReLU on the up projection too. */
    readonly upActivation: "none" | "relu";
    readonly bias: boolean;
  };
  readonly norm: { readonly kind: "rms" | "layer"; readonly epsilon: number };
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

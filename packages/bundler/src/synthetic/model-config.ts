import type { SyntheticPreset } from "./presets.js";
import type { SyntheticDtype } from "./row-filler.js";

/** Special tokens of a preset, with the ids of the published model. */
export interface SpecialIds {
  readonly bos: number;
  readonly eos: number;
  readonly pad: number | null;
}

/** Ids of the special tokens; OPT begins texts with what ends them. */
export function specialIdsOf(preset: SyntheticPreset): SpecialIds {
  const published = publishedIds(preset);
  // The tiny shapes have no room for ids of large vocabularies.
  return published.eos < preset.shape.vocabularySize ? published : { bos: 0, eos: 0, pad: null };
}

function publishedIds(preset: SyntheticPreset): SpecialIds {
  switch (preset.shape.family) {
    case "opt":
      return { bos: 2, eos: 2, pad: 1 };
    case "falcon":
      return { bos: 11, eos: 11, pad: null };
    case "persimmon":
      return { bos: 71_013, eos: 71_013, pad: null };
    case "phi":
      return { bos: 50_256, eos: 50_256, pad: null };
    case "llama":
      return { bos: 1, eos: 2, pad: null };
  }
}

/** The key that says in a `config.json` what the checkpoint is; readers of Hugging Face ignore it. */
export const SYNTHETIC_KEY = "flashlm_synthetic";

/** How names of synthetic checkpoints end, in bundles and in what runs print. */
export const SYNTHETIC_SUFFIX = " (synthetic)";

/** What {@link SYNTHETIC_KEY} holds. */
export interface SyntheticLabel {
  readonly preset: string;
  readonly seed: number;
  readonly note: string;
}

/** The label of a synthetic checkpoint. */
export function labelOf(preset: SyntheticPreset, seed: number): SyntheticLabel {
  return {
    preset: preset.name,
    seed,
    note: "Random weights of that shape with made-up statistics. Not a language model, and not derived from one.",
  };
}

/** What the keys of a family's config are made from. */
interface ConfigParts {
  readonly shape: SyntheticPreset["shape"];
  /** Keys that every family has. */
  readonly common: Readonly<Record<string, unknown>>;
  /** Width and context under their newer names. */
  readonly middle: Readonly<Record<string, unknown>>;
}

type FamilyConfig = (parts: ConfigParts) => Record<string, unknown>;

const optConfig: FamilyConfig = ({ shape, common }) => ({
  ...common,
  architectures: ["OPTForCausalLM"],
  model_type: "opt",
  _remove_final_layer_norm: false,
  activation_dropout: 0,
  activation_function: "relu",
  do_layer_norm_before: true,
  dropout: 0.1,
  enable_bias: true,
  ffn_dim: shape.neuronCount,
  init_std: 0.02,
  layer_norm_elementwise_affine: true,
  layerdrop: 0,
  max_position_embeddings: shape.contextLengthMax,
  prefix: "</s>",
  word_embed_proj_dim: shape.hiddenSize,
});

const falconConfig: FamilyConfig = ({ shape, common }) => ({
  ...common,
  architectures: ["FalconForCausalLM"],
  model_type: "falcon",
  activation: "relu",
  alibi: false,
  apply_residual_connection_post_layernorm: false,
  bias: false,
  // Published configs leave it out where it is four times the hidden size.
  ...(shape.neuronCount === 4 * shape.hiddenSize ? {} : { ffn_hidden_size: shape.neuronCount }),
  hidden_dropout: 0,
  initializer_range: 0.02,
  layer_norm_epsilon: 1e-5,
  multi_query: true,
  new_decoder_architecture: false,
  parallel_attn: true,
});

const persimmonConfig: FamilyConfig = ({ common, middle }) => ({
  ...common,
  ...middle,
  architectures: ["PersimmonForCausalLM"],
  model_type: "persimmon",
  hidden_act: "relu2",
  hidden_dropout: 0,
  initializer_range: 0.02,
  layer_norm_eps: 1e-5,
  partial_rotary_factor: 0.5,
  qk_layernorm: true,
  rope_scaling: null,
  rope_theta: 25_000,
  tie_word_embeddings: false,
});

const phiConfig: FamilyConfig = ({ shape, common, middle }) => ({
  ...common,
  ...middle,
  architectures: ["PhiForCausalLM"],
  model_type: "phi",
  embd_pdrop: 0,
  hidden_act: "relu",
  initializer_range: 0.02,
  layer_norm_eps: 1e-5,
  num_key_value_heads: shape.headCount,
  partial_rotary_factor: phiRotaryShare(shape.hiddenSize / shape.headCount),
  qk_layernorm: false,
  resid_pdrop: 0.1,
  rope_scaling: null,
  rope_theta: 10_000,
  tie_word_embeddings: false,
});

const llamaConfig: FamilyConfig = ({ shape, common, middle }) => ({
  ...common,
  ...middle,
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  attention_bias: false,
  hidden_act: "relu",
  initializer_range: 0.02,
  mlp_bias: false,
  num_key_value_heads: shape.headCount,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 10_000,
  tie_word_embeddings: false,
});

const FAMILY_CONFIGS: Readonly<Record<SyntheticPreset["shape"]["family"], FamilyConfig>> = {
  opt: optConfig,
  falcon: falconConfig,
  persimmon: persimmonConfig,
  phi: phiConfig,
  llama: llamaConfig,
};

function ownConfig({ shape }: SyntheticPreset): Record<string, unknown> {
  const { hiddenSize, layerCount, neuronCount, headCount, contextLengthMax } = shape;
  const common = {
    hidden_size: hiddenSize,
    num_attention_heads: headCount,
    num_hidden_layers: layerCount,
    attention_dropout: 0,
    use_cache: true,
  };
  const middle = { intermediate_size: neuronCount, max_position_embeddings: contextLengthMax };
  return FAMILY_CONFIGS[shape.family]({ shape, common, middle });
}

/** Phi-2 rotates 0.4 of its heads of 80; the tiny shape's heads of 64 have no such even part. */
function phiRotaryShare(headDim: number): number {
  return (headDim * 2) % 5 === 0 ? 0.4 : 0.5;
}

const TORCH_DTYPES: Readonly<Record<SyntheticDtype, string>> = {
  f32: "float32",
  f16: "float16",
  bf16: "bfloat16",
  q8_0: "float16",
};

/** `config.json` with the keys of the published model, the activation that the paper's form of it has, and the label. */
export function configJson(
  preset: SyntheticPreset,
  seed: number,
  dtype: SyntheticDtype,
): Record<string, unknown> {
  const { bos, eos, pad } = specialIdsOf(preset);
  return {
    [SYNTHETIC_KEY]: labelOf(preset, seed),
    ...ownConfig(preset),
    bos_token_id: bos,
    eos_token_id: eos,
    ...(pad === null ? {} : { pad_token_id: pad }),
    torch_dtype: TORCH_DTYPES[dtype],
    vocab_size: preset.shape.vocabularySize,
  };
}

import type { LayerNormName, ModelConfig } from "@flashlm/contracts";
import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";
import {
  decoderShape,
  groupedQueryKeyValue,
  type HuggingFaceArchitecture,
  type ModelShape,
  type TensorNames,
} from "./architecture.js";

const FALCON_TENSORS: TensorNames = {
  basePrefix: "transformer.",
  layerPrefix: "h.",
  globals: { word_embeddings: "embedding", lm_head: "head", ln_f: "final_norm" },
  layer: {
    input_layernorm: "attention_norm",
    ln_attn: "attention_norm",
    "self_attention.dense": "attention.output",
    post_attention_layernorm: "ffn_norm",
    ln_mlp: "ffn_norm",
    "mlp.dense_h_to_4h": "ffn.up",
    "mlp.dense_4h_to_h": "ffn.down",
  },
  fused: (model) => ({ "self_attention.query_key_value": groupedQueryKeyValue(model) }),
};

/**
 * Slopes of ALiBi (arXiv 2108.12409): powers of 2^(-8/n) for n heads, where n is no power of two every second one of twice as many
 * for the rest. Falcon rounds them to bf16 and divides them, like the scores, by the root of the head's size.
 * @param count - how often they are added.
 */
function alibiSlopes(headCount: number, headDim: number, count: number): number[] {
  const powerOfTwo = 2 ** Math.floor(Math.log2(headCount));
  const slopes = Array.from({ length: headCount }, (_, head) =>
    head < powerOfTwo
      ? 2 ** ((-8 / powerOfTwo) * (head + 1))
      : 2 ** ((-4 / powerOfTwo) * (2 * (head - powerOfTwo) + 1)),
  );
  return slopes.map((slope) => (count * toBf16(slope)) / Math.sqrt(headDim));
}

/**
 * How often ALiBi is added. Published checkpoints name the version of transformers that wrote them, and want it once. The eager attention
 * of transformers 5 adds it to the scores and within the mask too; outputs that it made from a config of no version have it twice.
 */
function alibiCount(values: ConfigValues): number {
  return values.has("transformers_version") ? 1 : 2;
}

/** Nearest bf16, ties to even; for numbers of normal size. */
function toBf16(value: number): number {
  const unit = 2 ** (Math.floor(Math.log2(value)) - 7);
  const steps = value / unit;
  const below = Math.floor(steps);
  const rest = steps - below;
  return (rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below) * unit;
}

/** Keys of the first published files, by today's. */
const OLD_KEYS: Readonly<Record<string, string>> = {
  num_hidden_layers: "n_layer",
  num_attention_heads: "n_head",
  num_kv_heads: "n_head_kv",
  hidden_size: "n_embed",
};

function keyValueHeadCountOf(values: ConfigValues, headCount: number, isNew: boolean): number {
  const isMultiQuery = values.boolean("multi_query", true);
  if (isMultiQuery && !isNew) return 1;
  const count = values.count("num_kv_heads", headCount, headCount);
  if (headCount % count !== 0 || (!isNew && count !== headCount))
    values.fail("num_kv_heads", isNew ? `a divisor of the ${headCount} heads` : `the ${headCount} heads`);
  return count;
}

function normsOf(values: ConfigValues, isNew: boolean): readonly LayerNormName[] {
  const isParallel = values.boolean("parallel_attn", true);
  const count = values.count("num_ln_in_parallel_attn", isNew ? 2 : 1, isNew ? 2 : 1);
  return isParallel && count === 1 ? ["attention_norm"] : ["attention_norm", "ffn_norm"];
}

function falconShape(config: ConfigValues): ModelShape {
  const values = config.renamed(OLD_KEYS);
  const headCount = values.count("num_attention_heads", MODEL_LIMITS.headCount);
  const isNew = values.boolean("new_decoder_architecture", false);
  const hasBias = values.boolean("bias", false);
  const hiddenSize = values.count("hidden_size", MODEL_LIMITS.hiddenSize);
  const shape = decoderShape(
    values
      .without("partial_rotary_factor", "head_dim")
      .with("num_key_value_heads", keyValueHeadCountOf(values, headCount, isNew))
      .with("ffn_hidden_size", values.raw("ffn_hidden_size") ?? 4 * hiddenSize),
    {
      family: "falcon",
      contextLengthMax: 2048,
      queryKeyValueBias: hasBias,
      outputBias: hasBias,
      ffnBias: hasBias,
      ffnKind: "plain",
      activationKey: "activation",
      activation: "gelu",
      neuronCountKey: "ffn_hidden_size",
      norm: "layer",
      epsilonKey: "layer_norm_epsilon",
      epsilon: 1e-5,
      tied: true,
    },
  );
  const isAlibi = values.boolean("alibi", false);
  const attention: ModelConfig["attention"] = isAlibi
    ? {
        ...shape.attention,
        alibiSlopes: alibiSlopes(headCount, shape.attention.headDim, alibiCount(values)),
      }
    : shape.attention;
  const isParallel = values.boolean("parallel_attn", true);
  if (isNew && !isParallel)
    values.fail("parallel_attn", "true where new_decoder_architecture is: the two exclude one another");
  return {
    ...shape,
    family: isParallel ? "falcon" : "falcon-rw",
    attention,
    rope: isAlibi
      ? { theta: shape.rope.theta, rotaryDim: 0, scaling: { kind: "none" }, contextFactors: null }
      : shape.rope,
    norm: { ...shape.norm, perLayer: normsOf(values, isNew) },
  };
}

/** Falcon in its three forms: 7B (one norm, multi-query), 40B (two norms, grouped) and RW (sequential, ALiBi). */
export const FALCON: HuggingFaceArchitecture = {
  names: ["FalconForCausalLM", "RWForCausalLM"],
  modelTypes: ["falcon", "RefinedWeb", "RefinedWebModel"],
  tensors: FALCON_TENSORS,
  shape: falconShape,
};

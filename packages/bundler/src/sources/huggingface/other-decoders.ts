import type { ConfigValues } from "../config-values.js";
import {
  decoderShape,
  groupedQueryKeyValue,
  type HuggingFaceArchitecture,
  type ModelShape,
} from "./architecture.js";
import { LLAMA_TENSORS } from "./llama.js";

/** OLMo 2: norms on the output of attention and FFN, and of all queries or keys together. */
const OLMO2: HuggingFaceArchitecture = {
  names: ["Olmo2ForCausalLM"],
  modelTypes: ["olmo2"],
  tensors: {
    ...LLAMA_TENSORS,
    layer: {
      ...LLAMA_TENSORS.layer,
      post_attention_layernorm: "attention_output_norm",
      post_feedforward_layernorm: "ffn_output_norm",
    },
  },
  shape(values: ConfigValues): ModelShape {
    const shape = decoderShape(values, {
      family: "olmo2",
      contextLengthMax: 2048,
      queryKeyValueBias: "attention_bias",
      outputBias: "attention_bias",
      epsilon: 1e-5,
    });
    return {
      ...shape,
      attention: { ...shape.attention, queryKeyNorm: "vector" },
      norm: { ...shape.norm, perLayer: ["attention_output_norm", "ffn_output_norm"] },
    };
  },
};

/** Nemotron and Minitron: layer norms whose weights are stored less 1, a plain FFN with squared ReLU. */
const NEMOTRON: HuggingFaceArchitecture = {
  names: ["NemotronForCausalLM"],
  modelTypes: ["nemotron"],
  tensors: { ...LLAMA_TENSORS, normsLessOne: true },
  shape: (values: ConfigValues): ModelShape =>
    decoderShape(values, {
      family: "nemotron",
      contextLengthMax: 4096,
      queryKeyValueBias: "attention_bias",
      outputBias: "attention_bias",
      ffnBias: "mlp_bias",
      ffnKind: "plain",
      activation: "relu2",
      norm: "layer",
      epsilonKey: "norm_eps",
      epsilon: 1e-5,
      rope: { partial: 0.5 },
    }),
};

/** What Persimmon and Phi have in common. */
function biasedShape(values: ConfigValues, family: string, activation: string, context: number): ModelShape {
  return decoderShape(values, {
    family,
    contextLengthMax: context,
    queryKeyValueBias: true,
    outputBias: true,
    ffnBias: true,
    ffnKind: "plain",
    activation,
    norm: "layer",
    epsilonKey: "layer_norm_eps",
    epsilon: 1e-5,
    rope: { partial: 0.5 },
  });
}

function withQueryKeyNorm(values: ConfigValues, shape: ModelShape, fallback: boolean): ModelShape {
  if (!values.boolean("qk_layernorm", fallback)) return shape;
  return { ...shape, attention: { ...shape.attention, queryKeyNorm: "head" } };
}

/** Persimmon: layer norms of queries and keys, half rotary, squared ReLU. */
const PERSIMMON: HuggingFaceArchitecture = {
  names: ["PersimmonForCausalLM"],
  modelTypes: ["persimmon"],
  tensors: {
    basePrefix: "model.",
    layerPrefix: "layers.",
    globals: { embed_tokens: "embedding", lm_head: "head", final_layernorm: "final_norm" },
    layer: {
      input_layernorm: "attention_norm",
      "self_attn.dense": "attention.output",
      "self_attn.q_layernorm": "attention.query_norm",
      "self_attn.k_layernorm": "attention.key_norm",
      post_attention_layernorm: "ffn_norm",
      "mlp.dense_h_to_4h": "ffn.up",
      "mlp.dense_4h_to_h": "ffn.down",
    },
    fused: (model) => ({ "self_attn.query_key_value": groupedQueryKeyValue(model) }),
  },
  shape: (values: ConfigValues): ModelShape =>
    withQueryKeyNorm(
      values,
      biasedShape(values.without("num_key_value_heads"), "persimmon", "relu2", 16_384),
      true,
    ),
};

/** Phi-1, Phi-1.5, Phi-2: attention and FFN side by side behind one norm. */
const PHI: HuggingFaceArchitecture = {
  names: ["PhiForCausalLM"],
  modelTypes: ["phi"],
  tensors: {
    basePrefix: "model.",
    layerPrefix: "layers.",
    globals: { embed_tokens: "embedding", lm_head: "head", final_layernorm: "final_norm" },
    layer: {
      input_layernorm: "attention_norm",
      "self_attn.q_proj": "attention.query",
      "self_attn.k_proj": "attention.key",
      "self_attn.v_proj": "attention.value",
      "self_attn.dense": "attention.output",
      "self_attn.q_layernorm": "attention.query_norm",
      "self_attn.k_layernorm": "attention.key_norm",
      "mlp.fc1": "ffn.up",
      "mlp.fc2": "ffn.down",
    },
  },
  shape(values: ConfigValues): ModelShape {
    const shape = withQueryKeyNorm(values, biasedShape(values, "phi", "gelu_new", 2048), false);
    return {
      ...shape,
      norm: { ...shape.norm, perLayer: ["attention_norm"] },
      head: { bias: true },
    };
  },
};

/** Architectures with a block of their own and little else to say. */
export const OTHER_DECODERS: readonly HuggingFaceArchitecture[] = [OLMO2, NEMOTRON, PERSIMMON, PHI];

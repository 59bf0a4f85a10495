import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";
import {
  decoderShape,
  type HuggingFaceArchitecture,
  type ModelShape,
  type ShapeDefaults,
  stacked,
  type TensorNames,
} from "./architecture.js";
import { windowsOf } from "./windows.js";

/** Names that Llama gave to nearly everything after it. */
export const LLAMA_TENSORS: TensorNames = {
  basePrefix: "model.",
  layerPrefix: "layers.",
  globals: { embed_tokens: "embedding", lm_head: "head", norm: "final_norm" },
  layer: {
    input_layernorm: "attention_norm",
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.o_proj": "attention.output",
    "self_attn.q_norm": "attention.query_norm",
    "self_attn.k_norm": "attention.key_norm",
    post_attention_layernorm: "ffn_norm",
    "mlp.gate_proj": "ffn.gate",
    "mlp.up_proj": "ffn.up",
    "mlp.down_proj": "ffn.down",
  },
};

const LLAMA: ShapeDefaults = {
  family: "llama",
  contextLengthMax: 2048,
  queryKeyValueBias: "attention_bias",
  outputBias: "attention_bias",
  ffnBias: "mlp_bias",
};

/** The window of Mistral, Phi-3 and their kin: of all layers, none where the config says null or, in Phi-3, nothing. */
function withWindow(values: ConfigValues, shape: ModelShape, defaultWindow: number | null): ModelShape {
  const isNone = values.isNull("sliding_window") || (defaultWindow === null && !values.has("sliding_window"));
  const slidingWindow = isNone
    ? null
    : values.count("sliding_window", MODEL_LIMITS.contextLength, defaultWindow ?? undefined);
  return { ...shape, attention: { ...shape.attention, slidingWindow } };
}

function mistralShape(values: ConfigValues): ModelShape {
  const defaults = { family: "llama", contextLengthMax: 131_072, keyValueHeadCount: 8 };
  return withWindow(values, decoderShape(values, defaults), 4096);
}

/** dReLU: the FFN has a ReLU on both projections. */
function bambooShape(values: ConfigValues): ModelShape {
  const shape = mistralShape(values);
  if (shape.ffn.activation.name !== "relu" || shape.ffn.activation.threshold !== 0)
    values.fail("hidden_act", "relu for Bamboo");
  return { ...shape, ffn: { ...shape.ffn, upActivation: "relu" } };
}

function phi3Shape(values: ConfigValues): ModelShape {
  const shape = decoderShape(values, {
    family: "llama",
    contextLengthMax: 4096,
    epsilon: 1e-5,
    rope: { originalContextLength: 4096, aliases: { yarn: "longrope" } },
  });
  return withWindow(values, shape, null);
}

function qwen2Shape(values: ConfigValues): ModelShape {
  return qwenShape(values, { family: "llama", contextLengthMax: 32_768, queryKeyValueBias: true });
}

function qwen3Shape(values: ConfigValues): ModelShape {
  const shape = qwenShape(values, {
    family: "qwen3",
    contextLengthMax: 32_768,
    headDim: 128,
    queryKeyValueBias: "attention_bias",
    outputBias: "attention_bias",
  });
  return { ...shape, attention: { ...shape.attention, queryKeyNorm: "head" } };
}

function qwenShape(values: ConfigValues, defaults: ShapeDefaults): ModelShape {
  const shape = decoderShape(values, { ...defaults, keyValueHeadCount: 32 });
  const firstWindow = values.number("max_window_layers", 28, 0);
  const isUsed = values.boolean("use_sliding_window", false) && !values.isNull("sliding_window");
  const windows = windowsOf(values, shape.layerCount, (layer) => layer >= firstWindow, 4096, isUsed);
  return { ...shape, attention: { ...shape.attention, ...windows } };
}

function isFlag(item: unknown): item is 0 | 1 | boolean {
  return item === 0 || item === 1 || typeof item === "boolean";
}

/** SmolLM3: every fourth layer, or those of `no_rope_layers` that are 0, leave positions out. */
function smollm3Shape(values: ConfigValues): ModelShape {
  const shape = decoderShape(values, {
    ...LLAMA,
    contextLengthMax: 32_768,
    keyValueHeadCount: 4,
    rope: { theta: 2_000_000 },
    tied: true,
  });
  const interval = values.count("no_rope_layer_interval", MODEL_LIMITS.layerCount, 4);
  const flags = values.list("no_rope_layers", shape.layerCount, isFlag, "flags, one per layer");
  const rotaryLayers = Array.from({ length: shape.layerCount }, (_, layer) =>
    flags === undefined ? (layer + 1) % interval !== 0 : Boolean(flags[layer]),
  );
  const hasWindow = values.has("sliding_window") && values.boolean("use_sliding_window", false);
  const windows = windowsOf(
    values,
    shape.layerCount,
    (layer) => !(rotaryLayers[layer] ?? true),
    undefined,
    hasWindow,
  );
  return {
    ...shape,
    attention: { ...shape.attention, ...windows },
    rope: rotaryLayers.includes(false) ? { ...shape.rope, rotaryLayers } : shape.rope,
  };
}

const PHI3_TENSORS: TensorNames = {
  ...LLAMA_TENSORS,
  fused: ({ attention, ffn }) => ({
    "self_attn.qkv_proj": stacked([
      ["attention.query", attention.headCount * attention.headDim],
      ["attention.key", attention.keyValueHeadCount * attention.headDim],
      ["attention.value", attention.keyValueHeadCount * attention.headDim],
    ]),
    "mlp.gate_up_proj": stacked([
      ["ffn.gate", ffn.neuronCount],
      ["ffn.up", ffn.neuronCount],
    ]),
  }),
};

const architecture = (
  names: readonly string[],
  modelTypes: readonly string[],
  shape: HuggingFaceArchitecture["shape"],
  tensors: TensorNames = LLAMA_TENSORS,
): HuggingFaceArchitecture => ({ names, modelTypes, tensors, shape });

/** Llama and what has its block: norm, attention, norm, FFN. */
export const LLAMA_ARCHITECTURES: readonly HuggingFaceArchitecture[] = [
  architecture(["LlamaForCausalLM"], ["llama"], (values) => decoderShape(values, LLAMA)),
  architecture(["SparseLlamaForCausalLM"], ["sparsellama"], (values) => decoderShape(values, LLAMA)),
  architecture(["MistralForCausalLM"], ["mistral"], mistralShape),
  architecture(["BambooForCausalLM"], ["bamboo"], bambooShape),
  architecture(["Phi3ForCausalLM"], ["phi3"], phi3Shape, PHI3_TENSORS),
  architecture(["Qwen2ForCausalLM"], ["qwen2"], qwen2Shape),
  architecture(["Qwen3ForCausalLM"], ["qwen3"], qwen3Shape),
  architecture(["SmolLM3ForCausalLM"], ["smollm3"], smollm3Shape),
  architecture(["ArceeForCausalLM"], ["arcee"], (values) =>
    decoderShape(values, {
      ...LLAMA,
      contextLengthMax: 4096,
      ffnKind: "plain",
      activation: "relu2",
      epsilon: 1e-5,
    }),
  ),
];

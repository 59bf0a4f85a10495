import { type ActivationName, FlashlmError, type ModelConfig, type RopeScaling } from "@flashlm/contracts";
import { activationOf } from "./activation-names.js";
import { ConfigValues, MODEL_LIMITS } from "./config-values.js";

/** How an architecture of GGUF files is read. */
interface GgufArchitecture {
  readonly family: string;
  /** What Hugging Face calls it. */
  readonly huggingFaceArchitecture: string;
  readonly modelType: string;
  /** Rows of the query and key projections are stored as rotary pairs. */
  readonly hasPairedRotary: boolean;
  /** The FFN is plain, with this activation; absent: gated. */
  readonly plainActivation?: ActivationName;
  readonly queryKeyNorm?: "head";
  /** Absent: "rms". */
  readonly norm?: "layer";
}

const LLAMA: GgufArchitecture = {
  family: "llama",
  huggingFaceArchitecture: "LlamaForCausalLM",
  modelType: "llama",
  hasPairedRotary: true,
};
const ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: LLAMA,
  arcee: {
    ...LLAMA,
    huggingFaceArchitecture: "ArceeForCausalLM",
    modelType: "arcee",
    plainActivation: "relu2",
  },
  qwen2: {
    family: "llama",
    huggingFaceArchitecture: "Qwen2ForCausalLM",
    modelType: "qwen2",
    hasPairedRotary: false,
  },
  qwen3: {
    family: "qwen3",
    huggingFaceArchitecture: "Qwen3ForCausalLM",
    modelType: "qwen3",
    hasPairedRotary: false,
    queryKeyNorm: "head",
  },
  nemotron: {
    family: "nemotron",
    huggingFaceArchitecture: "NemotronForCausalLM",
    modelType: "nemotron",
    hasPairedRotary: false,
    plainActivation: "relu2",
    norm: "layer",
  },
};

/** Mixtures of experts that GGUF files are made of: known, and refused by name. */
const EXPERT_ARCHITECTURES: readonly string[] = ["gpt-oss", "olmoe", "qwen2moe", "qwen3moe"];

/** Pre-tokenizers whose models begin with BOS although older files do not say so. */
const PRE_TOKENIZERS_WITH_BOS: ReadonlySet<string> = new Set(["llama3", "llama-v3", "llama-bpe", "tekken"]);

/** Facts that stand in the tensors of a GGUF file rather than in its metadata. */
export interface GgufTensorFacts {
  readonly vocabularySize: number;
  readonly hasHead: boolean;
  readonly hasQueryKeyValueBias: boolean;
  readonly hasOutputBias: boolean;
  readonly hasFfnBias: boolean;
  /** `rope_freqs.weight`. */
  readonly contextFactors: readonly number[] | null;
}

/** The architecture of a file. @throws CHECKPOINT_UNSUPPORTED by name, CHECKPOINT_FORMAT. */
export function ggufArchitecture(
  metadata: Readonly<Record<string, unknown>>,
): GgufArchitecture & { name: string } {
  const name = new ConfigValues(metadata, "GGUF metadata").string("general.architecture");
  if (!Object.hasOwn(ARCHITECTURES, name)) {
    const reason = EXPERT_ARCHITECTURES.includes(name)
      ? "it is a mixture of experts, and only dense models can be run"
      : "it is not known";
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `GGUF files of the architecture ${name} cannot be read: ${reason}; known are ${Object.keys(ARCHITECTURES).join(", ")}`,
      { architecture: name },
    );
  }
  return { name, ...ARCHITECTURES[name]! };
}

/** Keys that change the computation and that no known model of these architectures sets to anything but 0 or 1. */
const NEUTRAL_KEYS = [
  "expert_count",
  "logit_scale",
  "residual_scale",
  "embedding_scale",
  "attention.scale",
] as const;

function refuseUnknownComputation(values: ConfigValues, prefix: string): void {
  for (const suffix of NEUTRAL_KEYS) {
    const value = values.raw(`${prefix}.${suffix}`) ?? 0;
    if (value === 0 || (value === 1 && suffix !== "expert_count")) continue;
    const reason =
      suffix === "expert_count"
        ? "it is a mixture of experts, and only dense models can be run"
        : `models of ${prefix} with it cannot be run`;
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `GGUF metadata: ${prefix}.${suffix} is ${String(value)}; ${reason}`,
      { key: `${prefix}.${suffix}` },
    );
  }
}

function ropeScalingOf(values: ConfigValues, prefix: string, contextLengthMax: number): RopeScaling {
  const key = (suffix: string): string => `${prefix}.rope.scaling.${suffix}`;
  const legacyFactor = values.number(`${prefix}.rope.scale_linear`, 0, 0);
  const factor = values.number(key("factor"), legacyFactor, 0);
  const kind = values.string(key("type"), factor === 0 ? "none" : "linear");
  if (kind === "none" || ((factor === 0 || factor === 1) && kind === "linear")) return { kind: "none" };
  if (kind === "linear") return { kind, factor };
  if (kind === "yarn") {
    const yarnFactor = values.positive(key("factor"));
    const magnitude = values.positive(key("yarn_attn_factor"), values.positive(key("attn_factor"), 1));
    return {
      kind,
      factor: yarnFactor,
      betaFast: values.positive(key("yarn_beta_fast"), 32),
      betaSlow: values.positive(key("yarn_beta_slow"), 1),
      attentionFactor: magnitude * (1 + 0.1 * Math.log(yarnFactor)),
      originalContextLength: values.count(
        key("original_context_length"),
        MODEL_LIMITS.contextLength,
        contextLengthMax,
      ),
    };
  }
  throw new FlashlmError("CHECKPOINT_UNSUPPORTED", `the rotary scaling ${kind} is not known in GGUF files`, {
    ropeScaling: kind,
  });
}

function tokensOf(values: ConfigValues, vocabularySize: number): ModelConfig["tokens"] {
  const ids = ["eos", "eot", "eom"].flatMap((name) =>
    values.tokenIds(`tokenizer.ggml.${name}_token_id`, vocabularySize),
  );
  const isSentencePiece = values.raw("tokenizer.ggml.model") === "llama";
  const pre = values.raw("tokenizer.ggml.pre");
  const addsByDefault = isSentencePiece || (typeof pre === "string" && PRE_TOKENIZERS_WITH_BOS.has(pre));
  const bos = values.tokenId("tokenizer.ggml.bos_token_id", vocabularySize);
  const addBos = values.boolean("tokenizer.ggml.add_bos_token", addsByDefault);
  return { bos, eos: [...new Set(ids)], addBos: addBos && bos !== null };
}

/** Sizes of a head; those of queries, keys and values must agree. @throws CHECKPOINT_UNSUPPORTED, CHECKPOINT_FORMAT. */
function headsOf(
  values: ConfigValues,
  { name: prefix, hasPairedRotary }: GgufArchitecture & { name: string },
  fallback: number,
): { headDim: number; rotaryDim: number } {
  const headDim = values.count(`${prefix}.attention.key_length`, MODEL_LIMITS.headDim, fallback);
  const rotaryDim = values.count(`${prefix}.rope.dimension_count`, MODEL_LIMITS.headDim, headDim);
  const valueDim = values.count(`${prefix}.attention.value_length`, MODEL_LIMITS.headDim, headDim);
  // Pairs are put into halves per head, which only whole heads allow.
  const isRotary = rotaryDim % 2 === 0 && (hasPairedRotary ? rotaryDim === headDim : rotaryDim <= headDim);
  if (!isRotary || valueDim !== headDim) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `heads of ${headDim} with ${rotaryDim} rotary and ${valueDim} value dimensions; rotary ones must be even${hasPairedRotary ? " and all" : ""}, value ones as many`,
      { headDim, rotaryDim, valueDim },
    );
  }
  return { headDim, rotaryDim };
}

/** The model that GGUF metadata describe. @throws CHECKPOINT_UNSUPPORTED, CHECKPOINT_FORMAT, CHECKPOINT_SHAPE. */
export function ggufModel(metadata: Readonly<Record<string, unknown>>, facts: GgufTensorFacts): ModelConfig {
  const architecture = ggufArchitecture(metadata);
  const { name: prefix, family, plainActivation } = architecture;
  const values = new ConfigValues(metadata, "GGUF metadata");
  refuseUnknownComputation(values, prefix);
  const hiddenSize = values.count(`${prefix}.embedding_length`, MODEL_LIMITS.hiddenSize);
  const headCount = values.count(`${prefix}.attention.head_count`, MODEL_LIMITS.headCount);
  const { headDim, rotaryDim } = headsOf(values, architecture, hiddenSize / headCount);
  const contextLengthMax = values.count(`${prefix}.context_length`, MODEL_LIMITS.contextLength);
  const window = values.number(`${prefix}.attention.sliding_window`, 0, 0);
  return {
    family,
    architecture: prefix,
    hiddenSize,
    layerCount: values.count(`${prefix}.block_count`, MODEL_LIMITS.layerCount),
    vocabularySize: facts.vocabularySize,
    contextLengthMax,
    attention: {
      headCount,
      keyValueHeadCount: values.count(`${prefix}.attention.head_count_kv`, headCount, headCount),
      headDim,
      slidingWindow: window === 0 ? null : window,
      queryKeyValueBias: facts.hasQueryKeyValueBias,
      outputBias: facts.hasOutputBias,
      ...(architecture.queryKeyNorm === undefined ? {} : { queryKeyNorm: architecture.queryKeyNorm }),
    },
    rope: {
      theta: values.positive(`${prefix}.rope.freq_base`, 10000),
      rotaryDim,
      scaling: ropeScalingOf(values, prefix, contextLengthMax),
      contextFactors: facts.contextFactors,
    },
    ffn: {
      kind: plainActivation === undefined ? "gated" : "plain",
      neuronCount: values.count(`${prefix}.feed_forward_length`, MODEL_LIMITS.neuronCount),
      activation: activationOf(values, `${prefix}.hidden_act`, plainActivation),
      upActivation: "none",
      bias: facts.hasFfnBias,
    },
    norm: {
      kind: architecture.norm ?? "rms",
      epsilon: values.number(
        `${prefix}.attention.layer_norm_${architecture.norm === "layer" ? "" : "rms_"}epsilon`,
        undefined,
        0,
      ),
    },
    tiedEmbeddings: !facts.hasHead,
    tokens: tokensOf(values, facts.vocabularySize),
  };
}

function ropeConfig(scaling: RopeScaling): object | null {
  switch (scaling.kind) {
    case "linear":
      return { rope_type: "linear", factor: scaling.factor };
    case "yarn":
      return {
        rope_type: "yarn",
        factor: scaling.factor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        attention_factor: scaling.attentionFactor,
        original_max_position_embeddings: scaling.originalContextLength,
      };
    default:
      return null;
  }
}

/** A `config.json` in the style of Hugging Face for a model that came from GGUF. */
export function huggingFaceConfig(model: ModelConfig, metadata: Readonly<Record<string, unknown>>): object {
  const { huggingFaceArchitecture, modelType } = ggufArchitecture(metadata);
  const { attention, rope, ffn, tokens } = model;
  const isFatRelu = ffn.activation.threshold !== 0;
  return {
    architectures: [huggingFaceArchitecture],
    model_type: modelType,
    hidden_size: model.hiddenSize,
    intermediate_size: ffn.neuronCount,
    num_hidden_layers: model.layerCount,
    num_attention_heads: attention.headCount,
    num_key_value_heads: attention.keyValueHeadCount,
    head_dim: attention.headDim,
    hidden_act: isFatRelu
      ? "fatrelu"
      : ffn.activation.name === "gelu_tanh"
        ? "gelu_pytorch_tanh"
        : ffn.activation.name,
    ...(isFatRelu ? { hidden_act_param: ffn.activation.threshold } : {}),
    ...(attention.slidingWindow === null ? {} : { sliding_window: attention.slidingWindow }),
    attention_bias: attention.queryKeyValueBias,
    mlp_bias: ffn.bias,
    max_position_embeddings: model.contextLengthMax,
    [model.norm.kind === "rms" ? "rms_norm_eps" : "norm_eps"]: model.norm.epsilon,
    ...(rope.rotaryDim === attention.headDim
      ? {}
      : { partial_rotary_factor: rope.rotaryDim / attention.headDim }),
    rope_theta: rope.theta,
    rope_scaling: ropeConfig(rope.scaling),
    ...(rope.contextFactors === null ? {} : { rope_frequency_factors: rope.contextFactors }),
    tie_word_embeddings: model.tiedEmbeddings,
    vocab_size: model.vocabularySize,
    bos_token_id: tokens.bos,
    eos_token_id: tokens.eos.length === 1 ? tokens.eos[0]! : tokens.eos.length === 0 ? null : tokens.eos,
    torch_dtype: "float32",
  };
}

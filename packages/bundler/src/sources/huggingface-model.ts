import { FlashlmError, type ModelConfig, type RopeScaling } from "@flashlm/contracts";
import { activationOf } from "./activation-names.js";
import { ConfigValues, MODEL_LIMITS } from "./config-values.js";

type JsonObject = Readonly<Record<string, unknown>>;

/** An architecture of the llama family: what its config class assumes for keys that a file leaves out. */
interface HuggingFaceArchitecture {
  readonly contextLengthMax: number;
  /** null: as many as heads. */
  readonly keyValueHeadCount: number | null;
  /** undefined: the architecture has no window, whatever the config says. */
  readonly slidingWindow: number | null | undefined;
  readonly hasBiasKeys: boolean;
  readonly upActivation: ModelConfig["ffn"]["upActivation"];
}

const LLAMA: HuggingFaceArchitecture = {
  contextLengthMax: 2048,
  keyValueHeadCount: null,
  slidingWindow: undefined,
  hasBiasKeys: true,
  upActivation: "none",
};
const MISTRAL: HuggingFaceArchitecture = {
  contextLengthMax: 131_072,
  keyValueHeadCount: 8,
  slidingWindow: 4096,
  hasBiasKeys: false,
  upActivation: "none",
};
const ARCHITECTURES: Readonly<Record<string, HuggingFaceArchitecture>> = {
  LlamaForCausalLM: LLAMA,
  SparseLlamaForCausalLM: LLAMA,
  MistralForCausalLM: MISTRAL,
  BambooForCausalLM: { ...MISTRAL, upActivation: "relu" },
};
const ARCHITECTURE_OF_MODEL_TYPE: Readonly<Record<string, string>> = {
  llama: "LlamaForCausalLM",
  sparsellama: "SparseLlamaForCausalLM",
  mistral: "MistralForCausalLM",
  bamboo: "BambooForCausalLM",
};

/** The files beside `config.json` that say something about the model; null where absent. */
export interface HuggingFaceCompanions {
  readonly generationConfig: JsonObject | null;
  readonly tokenizerConfig: JsonObject | null;
  /** `tokenizer.json`. */
  readonly tokenizer: JsonObject | null;
}

function architectureName(values: ConfigValues): string {
  const list = values.raw("architectures");
  const named: unknown = Array.isArray(list) ? list[0] : undefined;
  const modelType = values.raw("model_type");
  const fromType =
    typeof modelType === "string" && Object.hasOwn(ARCHITECTURE_OF_MODEL_TYPE, modelType)
      ? ARCHITECTURE_OF_MODEL_TYPE[modelType]
      : undefined;
  const name = named ?? fromType ?? modelType;
  if (typeof name !== "string") values.fail("architectures", "a list with the name of an architecture");
  if (!Object.hasOwn(ARCHITECTURES, name)) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      `checkpoints of the architecture ${name} cannot be read yet; known are ${Object.keys(ARCHITECTURES).join(", ")}`,
      { architecture: name },
    );
  }
  return name;
}

function asObject(value: unknown): JsonObject | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
}

function ropeScalingOf(values: ConfigValues, contextLengthMax: number): RopeScaling {
  const kind = values.string("rope_type", values.string("type", "default"));
  const original = (): number =>
    values.count("original_max_position_embeddings", MODEL_LIMITS.contextLength, contextLengthMax);
  switch (kind) {
    case "default":
      return { kind: "none" };
    case "linear":
      return { kind, factor: values.positive("factor") };
    case "llama3":
      return {
        kind,
        factor: values.positive("factor"),
        lowFrequencyFactor: values.positive("low_freq_factor"),
        highFrequencyFactor: values.positive("high_freq_factor"),
        originalContextLength: original(),
      };
    case "yarn": {
      const factor = values.positive("factor");
      if (values.raw("mscale") !== undefined || values.raw("mscale_all_dim") !== undefined)
        values.fail("mscale", "no such key for a model of the llama family");
      return {
        kind,
        factor,
        betaFast: values.positive("beta_fast", 32),
        betaSlow: values.positive("beta_slow", 1),
        attentionFactor: values.positive("attention_factor", factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1),
        originalContextLength: original(),
      };
    }
    default:
      throw new FlashlmError(
        "CHECKPOINT_UNSUPPORTED",
        `the rotary scaling ${kind} is not known; known are default, linear, llama3, yarn`,
        { ropeScaling: kind },
      );
  }
}

function ropeOf(config: JsonObject, headDim: number, contextLengthMax: number): ModelConfig["rope"] {
  const values = new ConfigValues(config, "config.json");
  const parameters = asObject(config["rope_parameters"]) ?? asObject(config["rope_scaling"]) ?? {};
  const scaling = new ConfigValues(parameters, "config.json, rope parameters");
  const theta = scaling.positive("rope_theta", values.positive("rope_theta", 10000));
  const partial = scaling.number("partial_rotary_factor", values.number("partial_rotary_factor", 1));
  if (partial !== 1) values.fail("partial_rotary_factor", "1 for a model of the llama family");
  return {
    theta,
    rotaryDim: headDim,
    scaling: ropeScalingOf(scaling, contextLengthMax),
    contextFactors: null,
  };
}

/** Whether a post-processor puts a special token first. Depth is bounded: sequences do not nest in practice. */
function putsTokenFirst(processor: unknown, depth: number): boolean {
  const { type, single, processors } = asObject(processor) ?? {};
  if (type === "Sequence" && Array.isArray(processors) && depth < 4)
    return processors.some((item) => putsTokenFirst(item, depth + 1));
  return (
    type === "TemplateProcessing" &&
    Array.isArray(single) &&
    asObject(asObject(single[0])?.["SpecialToken"]) !== null
  );
}

function tokensOf(
  values: ConfigValues,
  vocabularySize: number,
  companions: HuggingFaceCompanions,
): ModelConfig["tokens"] {
  const generation = new ConfigValues(companions.generationConfig ?? {}, "generation_config.json");
  const tokenizer = new ConfigValues(companions.tokenizerConfig ?? {}, "tokenizer_config.json");
  const eos = [
    ...generation.tokenIds("eos_token_id", vocabularySize),
    ...values.tokenIds("eos_token_id", vocabularySize),
  ];
  const bos =
    values.tokenId("bos_token_id", vocabularySize) ?? generation.tokenId("bos_token_id", vocabularySize);
  const className = tokenizer.raw("tokenizer_class");
  const isSentencePiece = className === "LlamaTokenizer" || className === "LlamaTokenizerFast";
  const addsByDefault =
    companions.tokenizer === null
      ? isSentencePiece
      : putsTokenFirst(companions.tokenizer["post_processor"], 0);
  const addBos = tokenizer.boolean("add_bos_token", addsByDefault);
  return { bos, eos: [...new Set(eos)], addBos: addBos && bos !== null };
}

function refuseQuantised(values: ConfigValues): void {
  const quantisation = asObject(values.raw("quantization_config"));
  if (quantisation === null) return;
  const method = String(quantisation["quant_method"] ?? "unknown");
  throw new FlashlmError(
    "CHECKPOINT_UNSUPPORTED",
    `the checkpoint is quantised (${method}), which cannot be read; use the original in F32, F16 or BF16, or a GGUF file`,
    { quantisation: method },
  );
}

/** The model that `config.json` and its companions describe. @throws CHECKPOINT_UNSUPPORTED, CHECKPOINT_FORMAT. */
export function huggingFaceModel(config: JsonObject, companions: HuggingFaceCompanions): ModelConfig {
  const values = new ConfigValues(config, "config.json");
  const architecture = architectureName(values);
  const defaults = ARCHITECTURES[architecture]!;
  refuseQuantised(values);
  const hiddenSize = values.count("hidden_size", MODEL_LIMITS.hiddenSize);
  const headCount = values.count("num_attention_heads", MODEL_LIMITS.headCount);
  const headDim = values.count("head_dim", MODEL_LIMITS.headDim, hiddenSize / headCount);
  if (headDim % 2 !== 0) values.fail("head_dim", "an even number: rotary embeddings turn pairs");
  const vocabularySize = values.count("vocab_size", MODEL_LIMITS.vocabularySize);
  const contextLengthMax = values.count(
    "max_position_embeddings",
    MODEL_LIMITS.contextLength,
    defaults.contextLengthMax,
  );
  // An explicit null means no window; a missing key means the architecture's own.
  const hasWindow = defaults.slidingWindow !== undefined && config["sliding_window"] !== null;
  const activation = activationOf(values, "hidden_act");
  if (defaults.upActivation === "relu" && (activation.name !== "relu" || activation.threshold !== 0))
    values.fail("hidden_act", `relu for ${architecture}`);
  const attentionBias = defaults.hasBiasKeys && values.boolean("attention_bias", false);
  return {
    family: "llama",
    architecture,
    hiddenSize,
    layerCount: values.count("num_hidden_layers", MODEL_LIMITS.layerCount),
    vocabularySize,
    contextLengthMax,
    attention: {
      headCount,
      keyValueHeadCount: values.count(
        "num_key_value_heads",
        headCount,
        defaults.keyValueHeadCount ?? headCount,
      ),
      headDim,
      slidingWindow: hasWindow
        ? values.count("sliding_window", MODEL_LIMITS.contextLength, defaults.slidingWindow ?? undefined)
        : null,
      queryKeyValueBias: attentionBias,
      outputBias: attentionBias,
    },
    rope: ropeOf(config, headDim, contextLengthMax),
    ffn: {
      kind: "gated",
      neuronCount: values.count("intermediate_size", MODEL_LIMITS.neuronCount),
      activation,
      upActivation: defaults.upActivation,
      bias: defaults.hasBiasKeys && values.boolean("mlp_bias", false),
    },
    norm: { kind: "rms", epsilon: values.number("rms_norm_eps", 1e-6, 0) },
    tiedEmbeddings: values.boolean("tie_word_embeddings", false),
    tokens: tokensOf(values, vocabularySize, companions),
  };
}

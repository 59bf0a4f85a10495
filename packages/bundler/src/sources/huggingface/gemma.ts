import { FlashlmError, type ModelConfig } from "@flashlm/contracts";
import { type ConfigValues, MODEL_LIMITS } from "../config-values.js";
import {
  decoderShape,
  type HuggingFaceArchitecture,
  type ModelShape,
  type ShapeDefaults,
  type TensorNames,
} from "./architecture.js";
import { LLAMA_TENSORS } from "./llama.js";
import { layeredRopeOf } from "./rope.js";
import { windowsOf } from "./windows.js";

const SANDWICH_NORMS = {
  perLayer: ["attention_norm", "attention_output_norm", "ffn_norm", "ffn_output_norm"],
} as const;

const GEMMA: ShapeDefaults = {
  family: "gemma",
  contextLengthMax: 8192,
  keyValueHeadCount: 4,
  headDim: 256,
  queryKeyValueBias: "attention_bias",
  outputBias: "attention_bias",
  activationKey: "hidden_activation",
  activation: "gelu_pytorch_tanh",
  tied: true,
};

const GEMMA_TENSORS: TensorNames = {
  ...LLAMA_TENSORS,
  layer: {
    ...LLAMA_TENSORS.layer,
    post_attention_layernorm: "attention_output_norm",
    pre_feedforward_layernorm: "ffn_norm",
    post_feedforward_layernorm: "ffn_output_norm",
  },
  normsLessOne: true,
};

/** A soft cap; null is none, a missing key the architecture's own. */
function softCapOf(values: ConfigValues, key: string, fallback: number | undefined): { softCap?: number } {
  if (values.isNull(key) || (fallback === undefined && !values.has(key))) return {};
  return { softCap: values.positive(key, fallback) };
}

function gemmaShape(
  values: ConfigValues,
  shape: ModelShape,
  windows: Pick<ModelConfig["attention"], "slidingWindow" | "windowLayers">,
  caps: { attention?: number; head?: number },
): ModelShape {
  if (values.boolean("use_bidirectional_attention", false)) {
    throw new FlashlmError(
      "CHECKPOINT_UNSUPPORTED",
      "a Gemma with bidirectional attention generates no text",
      {
        key: "use_bidirectional_attention",
      },
    );
  }
  const headCap = softCapOf(values, "final_logit_softcapping", caps.head);
  return {
    ...shape,
    attention: {
      ...shape.attention,
      ...windows,
      scale: values.positive("query_pre_attn_scalar", 256) ** -0.5,
      ...softCapOf(values, "attn_logit_softcapping", caps.attention),
    },
    norm: { ...shape.norm, ...SANDWICH_NORMS },
    embedding: { scale: Math.sqrt(shape.hiddenSize) },
    ...(headCap.softCap === undefined ? {} : { head: headCap }),
  };
}

function gemma2Shape(values: ConfigValues): ModelShape {
  const shape = decoderShape(values, GEMMA);
  const isUsed = !values.isNull("sliding_window");
  const windows = windowsOf(values, shape.layerCount, (layer) => (layer + 1) % 2 !== 0, 4096, isUsed);
  return gemmaShape(values, shape, windows, { attention: 50, head: 30 });
}

function gemma3Shape(values: ConfigValues): ModelShape {
  const headDim = values.count("head_dim", MODEL_LIMITS.headDim, 256);
  const shape = decoderShape(values.without("rope_parameters", "rope_scaling"), {
    ...GEMMA,
    contextLengthMax: 131_072,
  });
  const pattern = values.count(
    "sliding_window_pattern",
    MODEL_LIMITS.layerCount,
    values.count("_sliding_window_pattern", MODEL_LIMITS.layerCount, 6),
  );
  const isWindow = (layer: number): boolean => (layer + 1) % pattern !== 0;
  if (values.isNull("sliding_window")) values.fail("sliding_window", "a number for Gemma 3");
  const windows = windowsOf(values, shape.layerCount, isWindow, 4096);
  const { window, ...rope } = layeredRopeOf(values, headDim);
  const gemma = gemmaShape(values, shape, windows, {});
  return {
    ...gemma,
    attention: { ...gemma.attention, queryKeyNorm: "head" },
    rope: windows.slidingWindow === null || window === undefined ? rope : { ...rope, window },
  };
}

/** Gemma 2 and the text model of Gemma 3. */
export const GEMMA_ARCHITECTURES: readonly HuggingFaceArchitecture[] = [
  { names: ["Gemma2ForCausalLM"], modelTypes: ["gemma2"], tensors: GEMMA_TENSORS, shape: gemma2Shape },
  {
    names: ["Gemma3ForCausalLM"],
    modelTypes: ["gemma3_text"],
    tensors: GEMMA_TENSORS,
    shape: gemma3Shape,
  },
];

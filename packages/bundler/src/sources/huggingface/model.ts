import { FlashlmError, type ModelConfig } from "@flashlm/contracts";
import { ConfigValues } from "../config-values.js";
import type { HuggingFaceArchitecture, TensorNames } from "./architecture.js";
import { FALCON } from "./falcon.js";
import { GEMMA_ARCHITECTURES } from "./gemma.js";
import { LLAMA_ARCHITECTURES } from "./llama.js";
import { OPT } from "./opt.js";
import { OTHER_DECODERS } from "./other-decoders.js";
import { type HuggingFaceCompanions, type JsonObject, tokensOf } from "./tokens.js";

/** Every architecture that can be read; a new one is a new entry. */
const ARCHITECTURES: readonly HuggingFaceArchitecture[] = [
  ...LLAMA_ARCHITECTURES,
  ...GEMMA_ARCHITECTURES,
  ...OTHER_DECODERS,
  FALCON,
  OPT,
];

/** Mixtures of experts, by `model_type`: known, and refused by name. */
const EXPERT_ARCHITECTURES: Readonly<Record<string, string>> = {
  gpt_oss: "GptOssForCausalLM",
  mixtral: "MixtralForCausalLM",
  olmoe: "OlmoeForCausalLM",
  qwen2_moe: "Qwen2MoeForCausalLM",
  qwen3_moe: "Qwen3MoeForCausalLM",
};

/** What a config says of a model, and how its checkpoint names the tensors. */
export interface HuggingFaceModel {
  readonly model: ModelConfig;
  readonly tensors: TensorNames;
  readonly values: ConfigValues;
}

function unsupported(architecture: string, reason: string): FlashlmError {
  const known = ARCHITECTURES.flatMap(({ names }) => names.slice(0, 1)).join(", ");
  return new FlashlmError(
    "CHECKPOINT_UNSUPPORTED",
    `checkpoints of the architecture ${architecture} cannot be read: ${reason}; known are ${known}`,
    { architecture },
  );
}

function findArchitecture(values: ConfigValues): { name: string; architecture: HuggingFaceArchitecture } {
  const list = values.raw("architectures");
  const named: unknown = Array.isArray(list) ? list[0] : undefined;
  const modelType = values.raw("model_type");
  const isOfType = (types: readonly string[]): boolean =>
    typeof modelType === "string" && types.includes(modelType);
  const architecture = ARCHITECTURES.find(({ names, modelTypes }) =>
    named === undefined ? isOfType(modelTypes) : names.some((name) => name === named),
  );
  const name = named ?? architecture?.names[0] ?? modelType;
  if (typeof name !== "string") values.fail("architectures", "a list with the name of an architecture");
  const isExperts = Object.entries(EXPERT_ARCHITECTURES).some((pair) => pair.includes(name));
  if (isExperts) throw unsupported(name, "it is a mixture of experts, and only dense models can be run");
  if (architecture === undefined) throw unsupported(name, "it is not known");
  return { name, architecture };
}

function refuseQuantised(values: ConfigValues): void {
  const quantisation = values.within("quantization_config");
  if (quantisation === undefined) return;
  const method = String(quantisation.raw("quant_method") ?? "unknown");
  throw new FlashlmError(
    "CHECKPOINT_UNSUPPORTED",
    `the checkpoint is quantised (${method}), which cannot be read; use the original in F32, F16 or BF16, or a GGUF file`,
    { quantisation: method },
  );
}

/** The model that `config.json` and its companions describe. @throws CHECKPOINT_UNSUPPORTED, CHECKPOINT_FORMAT. */
export function huggingFaceModel(config: JsonObject, companions: HuggingFaceCompanions): HuggingFaceModel {
  const values = new ConfigValues(config, "config.json");
  const { name, architecture } = findArchitecture(values);
  refuseQuantised(values);
  const { family, ...shape } = architecture.shape(values);
  const tokens = tokensOf(values, shape.vocabularySize, companions);
  return { model: { family, architecture: name, ...shape, tokens }, tensors: architecture.tensors, values };
}

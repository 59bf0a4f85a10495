import type { ModelConfig } from "@flashlm/contracts";
import { ConfigValues } from "../config-values.js";

/** Part of a decoded JSON file. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The files beside `config.json` that say something about the model; null where absent. */
export interface HuggingFaceCompanions {
  readonly generationConfig: JsonObject | null;
  readonly tokenizerConfig: JsonObject | null;
  /** `tokenizer.json`. */
  readonly tokenizer: JsonObject | null;
}

function asObject(value: unknown): JsonObject | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
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

/** Special tokens, from the config and the files beside it. @throws CHECKPOINT_FORMAT. */
export function tokensOf(
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
  const isSentencePiece = typeof className === "string" && /^(Llama|Gemma)Tokenizer(Fast)?$/.test(className);
  const addsByDefault =
    companions.tokenizer === null
      ? isSentencePiece
      : putsTokenFirst(companions.tokenizer["post_processor"], 0);
  const addBos = tokenizer.boolean("add_bos_token", addsByDefault);
  return { bos, eos: [...new Set(eos)], addBos: addBos && bos !== null };
}

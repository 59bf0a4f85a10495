import { convertGgufTokenizer } from "./gguf-tokenizer.js";
import { convertHuggingfaceTokenizer } from "./huggingface-tokenizer.js";
import type { TokenizerFile } from "./tokenizer-json.js";

export { knownPreTokenizers } from "./pre-tokenizers.js";
export type { TokenizerFile } from "./tokenizer-json.js";

/** Where a tokenizer is taken from. */
export interface TokenizerSource {
  readonly format: "gguf" | "huggingface";
  /** The checkpoint's files, or for a Hugging Face checkpoint its folder. */
  readonly paths: readonly string[];
  /** Metadata of a GGUF file by key; arrays may be plain or typed, numbers also bigint. */
  readonly ggufMetadata?: Readonly<Record<string, unknown>>;
}

/**
 * Makes the tokenizer files of a bundle: `tokenizer.json` and `tokenizer_config.json` (bos_token, eos_token,
 * add_bos_token, chat_template). The list is empty where the checkpoint has no tokenizer. The caller owns the result.
 * @throws TOKENIZER_FORMAT for damaged data, TOKENIZER_UNSUPPORTED for a kind that is not known, by name.
 */
export async function convertTokenizer(checkpoint: TokenizerSource): Promise<{ files: TokenizerFile[] }> {
  const files =
    checkpoint.format === "gguf"
      ? convertGgufTokenizer(checkpoint.ggufMetadata ?? {})
      : await convertHuggingfaceTokenizer(checkpoint.paths);
  return { files };
}

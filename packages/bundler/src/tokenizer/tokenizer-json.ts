import { FlashlmError } from "@flashlm/contracts";

/** A file of a bundle that was made in memory. */
export interface TokenizerFile {
  /** File name without a folder. */
  readonly name: string;
  /** Whole content, UTF-8 when written. */
  readonly text: string;
}

/** One entry of `added_tokens` in tokenizer.json. */
export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A component of tokenizer.json (normalizer, pre-tokenizer, model, ...), told apart by `type`. */
export type ComponentJson = { readonly type: string } & Readonly<Record<string, unknown>>;

/** What differs between the tokenizers this package writes. */
export interface TokenizerParts {
  readonly addedTokens: readonly AddedTokenJson[];
  readonly normalizer: ComponentJson | null;
  readonly preTokenizer: ComponentJson | null;
  readonly postProcessor: ComponentJson | null;
  readonly decoder: ComponentJson;
  readonly model: ComponentJson;
}

/** Special tokens and flags of a tokenizer, by token text. */
export interface SpecialTokens {
  readonly bos: string | null;
  readonly eos: string | null;
  readonly unknown: string | null;
  readonly padding: string | null;
  readonly addBos: boolean;
  readonly addEos: boolean;
}

/** More tokens than any published vocabulary (about one million) and few enough to hold in memory. */
export const TOKEN_COUNT_MAX = 2_000_000;
/** Byte-level vocabularies have fewer merges than tokens; SentencePiece ones a few per token. */
export const MERGE_COUNT_MAX = 8_000_000;
/** Longest known tokens are runs of a few hundred characters; derived merges cost the square of it. */
export const TOKEN_LENGTH_MAX = 4096;
/** Chat templates are a few kilobytes, the longest known about 30. */
export const CHAT_TEMPLATE_LENGTH_MAX = 1_048_576;

/** An error for metadata that cannot be a tokenizer. `expected` and `actual` end up in the message. */
export function tokenizerFormatError(what: string, expected: string, actual: string): FlashlmError {
  return new FlashlmError(
    "TOKENIZER_FORMAT",
    `tokenizer: expected ${what} to be ${expected}, found ${actual}; the checkpoint is damaged or was written by an unknown tool`,
    { what, expected, actual },
  );
}

/** Makes an `added_tokens` entry that is matched in the raw text, before normalisation. */
export function addedToken(id: number, content: string, special: boolean): AddedTokenJson {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

/** A post-processor that adds BOS and EOS where the flags ask for it, or null when nothing is added. */
export function specialTokensTemplate(
  special: SpecialTokens,
  tokenId: (text: string) => number | undefined,
): ComponentJson | null {
  const bos = special.addBos ? special.bos : null;
  const eos = special.addEos ? special.eos : null;
  if (bos === null && eos === null) return null;
  const names: Record<string, unknown> = {};
  const around = (sequence: "A" | "B", typeId: number): unknown[] => [
    ...(bos === null ? [] : [{ SpecialToken: { id: bos, type_id: typeId } }]),
    { Sequence: { id: sequence, type_id: typeId } },
    ...(eos === null ? [] : [{ SpecialToken: { id: eos, type_id: typeId } }]),
  ];
  for (const text of [bos, eos]) {
    if (text !== null) names[text] = { id: text, ids: [tokenId(text)], tokens: [text] };
  }
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: names,
  };
}

/** Writes the two files of a tokenizer that was built here. */
export function tokenizerFiles(
  parts: TokenizerParts,
  special: SpecialTokens,
  chatTemplate: string | null,
): TokenizerFile[] {
  const json = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: parts.addedTokens,
    normalizer: parts.normalizer,
    pre_tokenizer: parts.preTokenizer,
    post_processor: parts.postProcessor,
    decoder: parts.decoder,
    model: parts.model,
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: special.bos,
    eos_token: special.eos,
    unk_token: special.unknown,
    pad_token: special.padding,
    add_bos_token: special.addBos,
    add_eos_token: special.addEos,
    clean_up_tokenization_spaces: false,
    ...(chatTemplate === null ? {} : { chat_template: chatTemplate }),
  };
  return [
    { name: "tokenizer.json", text: JSON.stringify(json) },
    { name: "tokenizer_config.json", text: `${JSON.stringify(config, null, 2)}\n` },
  ];
}

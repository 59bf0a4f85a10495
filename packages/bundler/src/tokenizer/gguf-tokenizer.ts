import { FlashlmError } from "@flashlm/contracts";
import {
  type GgufMetadata,
  readBoolean,
  readBytes,
  readNumbers,
  readString,
  readStrings,
  readTokenId,
} from "./gguf-metadata.js";
import { byteLevelPreTokenizer, findPreTokenizer } from "./pre-tokenizers.js";
import { indexTexts, PIECE_TYPE, sentencePieceParts, vocabularyObject } from "./sentencepiece-json.js";
import {
  addedToken,
  MERGE_COUNT_MAX,
  type SpecialTokens,
  specialTokensTemplate,
  TOKEN_COUNT_MAX,
  type TokenizerFile,
  tokenizerFiles,
  tokenizerFormatError,
} from "./tokenizer-json.js";

const PREFIX = "tokenizer.ggml.";
/** Compiled character maps are about 300 KB. */
const CHARACTERS_MAP_BYTES_MAX = 16 * 1024 * 1024;

interface Vocabulary {
  readonly texts: readonly string[];
  readonly types: Float64Array;
}

function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const texts = readStrings(metadata, `${PREFIX}tokens`, TOKEN_COUNT_MAX);
  if (texts === null || texts.length === 0)
    throw tokenizerFormatError(`${PREFIX}tokens`, "a list of tokens", "nothing");
  const types = readNumbers(metadata, `${PREFIX}token_type`, texts.length);
  return { texts, types: types ?? new Float64Array(texts.length).fill(PIECE_TYPE.normal) };
}

function readSpecialTokens(
  metadata: GgufMetadata,
  texts: readonly string[],
  byDefault: { readonly addBos: boolean; readonly addEos: boolean },
): SpecialTokens {
  const text = (name: string): string | null => {
    const id = readTokenId(metadata, `${PREFIX}${name}`, texts.length);
    return id === null ? null : (texts[id] as string);
  };
  return {
    bos: text("bos_token_id"),
    eos: text("eos_token_id"),
    unknown: text("unknown_token_id"),
    padding: text("padding_token_id"),
    addBos: readBoolean(metadata, `${PREFIX}add_bos_token`) ?? byDefault.addBos,
    addEos: readBoolean(metadata, `${PREFIX}add_eos_token`) ?? byDefault.addEos,
  };
}

/** Merge rules as pairs. Rules that lead to no token are left out: text would be lost through them. */
function readMerges(metadata: GgufMetadata, ids: ReadonlyMap<string, number>): string[][] {
  const rules = readStrings(metadata, `${PREFIX}merges`, MERGE_COUNT_MAX);
  if (rules === null)
    throw tokenizerFormatError(`${PREFIX}merges`, "the merge rules of a byte-level tokenizer", "nothing");
  const merges: string[][] = [];
  for (let index = 0; index < rules.length; index++) {
    const rule = rules[index] as string;
    const cut = rule.indexOf(" ", 1);
    if (cut < 1 || cut === rule.length - 1)
      throw tokenizerFormatError(
        `${PREFIX}merges[${index}]`,
        "two tokens with a space between",
        `"${rule.slice(0, 60)}"`,
      );
    const left = rule.slice(0, cut);
    const right = rule.slice(cut + 1);
    if (ids.has(left) && ids.has(right) && ids.has(left + right)) merges.push([left, right]);
  }
  return merges;
}

function convertByteLevel(metadata: GgufMetadata, chatTemplate: string | null): TokenizerFile[] {
  const { texts, types } = readVocabulary(metadata);
  const rule = findPreTokenizer(readString(metadata, `${PREFIX}pre`) ?? "default");
  const special = readSpecialTokens(metadata, texts, { addBos: rule.addBos, addEos: false });
  const ids = indexTexts(texts);
  const added = texts.flatMap((text, id) => {
    const type = types[id];
    if (text === "" || (type !== PIECE_TYPE.control && type !== PIECE_TYPE.userDefined)) return [];
    return [addedToken(id, text, type === PIECE_TYPE.control)];
  });
  const prefixSpace = readBoolean(metadata, `${PREFIX}add_space_prefix`) ?? false;
  const parts = {
    addedTokens: added,
    normalizer: prefixSpace ? { type: "Prepend", prepend: " " } : null,
    preTokenizer: byteLevelPreTokenizer(rule.patterns),
    postProcessor: specialTokensTemplate(special, (text) => ids.get(text)),
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rule.ignoreMerges,
      vocab: vocabularyObject(ids),
      merges: readMerges(metadata, ids),
    },
  };
  return tokenizerFiles(parts, special, chatTemplate);
}

function convertSentencePiece(
  metadata: GgufMetadata,
  algorithm: "bpe" | "unigram",
  chatTemplate: string | null,
): TokenizerFile[] {
  const { texts, types } = readVocabulary(metadata);
  const scores = readNumbers(metadata, `${PREFIX}scores`, texts.length);
  if (scores === null) throw tokenizerFormatError(`${PREFIX}scores`, "one score per token", "nothing");
  const found = readSpecialTokens(metadata, texts, {
    addBos: algorithm === "bpe",
    addEos: algorithm === "unigram",
  });
  const unknownIndex = types.indexOf(PIECE_TYPE.unknown);
  const unknown = found.unknown ?? (unknownIndex < 0 ? null : (texts[unknownIndex] as string));
  const special = { ...found, unknown };
  const parts = sentencePieceParts({
    algorithm,
    texts,
    scores,
    types,
    addSpacePrefix: readBoolean(metadata, `${PREFIX}add_space_prefix`) ?? true,
    removeExtraSpaces: readBoolean(metadata, `${PREFIX}remove_extra_whitespaces`) ?? false,
    charactersMap: readBytes(metadata, `${PREFIX}precompiled_charsmap`, CHARACTERS_MAP_BYTES_MAX),
    special,
  });
  return tokenizerFiles(parts, special, chatTemplate);
}

/**
 * Builds tokenizer.json and tokenizer_config.json from `tokenizer.*` metadata of a GGUF file; an empty list where it has no tokenizer.
 * @throws TOKENIZER_FORMAT for damaged metadata, TOKENIZER_UNSUPPORTED for an unknown model or pre-tokenizer.
 */
export function convertGgufTokenizer(metadata: GgufMetadata): TokenizerFile[] {
  const model = readString(metadata, `${PREFIX}model`);
  if (model === null || model === "none" || model === "no_vocab") return [];
  const chatTemplate = readString(metadata, "tokenizer.chat_template");
  if (model === "gpt2") return convertByteLevel(metadata, chatTemplate);
  if (model === "llama") return convertSentencePiece(metadata, "bpe", chatTemplate);
  if (model === "t5") return convertSentencePiece(metadata, "unigram", chatTemplate);
  throw new FlashlmError(
    "TOKENIZER_UNSUPPORTED",
    `tokenizer: expected tokenizer.ggml.model to be gpt2, llama or t5, found "${model.slice(0, 80)}"; ` +
      "convert from the Hugging Face folder of this model instead",
    { model: model.slice(0, 80) },
  );
}

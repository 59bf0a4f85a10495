import { PIECE_TYPE } from "../tokenizer/sentencepiece-json.js";
import { type TokenizerFile, tokenizerFiles } from "../tokenizer/tokenizer-json.js";
import { specialIdsOf } from "./model-config.js";
import type { SyntheticPreset } from "./presets.js";

/** The 256 characters that byte-level tokenizers write bytes as: printable ones stand for themselves, the rest from U+0100 on. */
function byteCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(printable ? byte : next++);
  });
}

const madeUpWord = (tokenId: number): string => `syn${String(tokenId).padStart(6, "0")}`;

/** A byte-level tokenizer without merges: text becomes its bytes, and every other id is a word that says it is made up. */
export function syntheticTokenizer(preset: SyntheticPreset): TokenizerFile[] {
  const { bos, eos, pad } = specialIdsOf(preset);
  const special = new Map<number, string>([[eos, "<|synthetic-end|>"]]);
  if (bos !== eos) special.set(bos, "<|synthetic-begin|>");
  if (pad !== null) special.set(pad, "<|synthetic-pad|>");
  const bytes = byteCharacters();
  const vocabulary: Record<string, number> = {};
  let byteIndex = 0;
  for (let tokenId = 0; tokenId < preset.shape.vocabularySize; tokenId++) {
    const text = special.get(tokenId) ?? bytes[byteIndex++] ?? `\u0120${madeUpWord(tokenId)}`;
    vocabulary[text] = tokenId;
  }
  const parts = {
    addedTokens: [...special].map(([id, content]) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    preTokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    postProcessor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: vocabulary,
      merges: [],
    },
  };
  const text = (id: number | null): string | null => (id === null ? null : special.get(id)!);
  return tokenizerFiles(
    parts,
    { bos: text(bos), eos: text(eos), unknown: null, padding: text(pad), addBos: false, addEos: false },
    null,
  );
}

/** The same idea as a SentencePiece vocabulary, for GGUF files of Llama: `<unk>`, `<s>`, `</s>`, the bytes, made-up words. */
export function sentencePieceVocabulary(vocabularySize: number): {
  texts: string[];
  scores: Float32Array;
  types: Int32Array;
} {
  const texts: string[] = ["<unk>", "<s>", "</s>"];
  const types = new Int32Array(vocabularySize).fill(PIECE_TYPE.normal);
  types.set([PIECE_TYPE.unknown, PIECE_TYPE.control, PIECE_TYPE.control]);
  for (let byte = 0; byte < 256; byte++) {
    types[texts.length] = PIECE_TYPE.byte;
    texts.push(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  }
  while (texts.length < vocabularySize) texts.push(`\u2581${madeUpWord(texts.length)}`);
  return { texts, scores: Float32Array.from(types, (_, index) => -index), types };
}

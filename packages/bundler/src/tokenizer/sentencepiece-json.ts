import {
  type AddedTokenJson,
  addedToken,
  type ComponentJson,
  MERGE_COUNT_MAX,
  type SpecialTokens,
  specialTokensTemplate,
  type TokenizerParts,
  tokenizerFormatError,
} from "./tokenizer-json.js";

/** Piece types of SentencePiece, which GGUF uses for every tokenizer. */
export const PIECE_TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** A SentencePiece vocabulary, whatever file it came from. `texts`, `scores` and `types` have one entry per token id. */
export interface SentencePieceVocabulary {
  readonly algorithm: "bpe" | "unigram";
  readonly texts: readonly string[];
  readonly scores: ArrayLike<number>;
  readonly types: ArrayLike<number>;
  /** A space is put before the text, so that its first word is the same token as elsewhere. */
  readonly addSpacePrefix: boolean;
  /** Runs of spaces become one, and those at both ends go. */
  readonly removeExtraSpaces: boolean;
  /** SentencePiece's compiled character map in base64, or null for none. */
  readonly charactersMap: string | null;
  readonly special: SpecialTokens;
}

const SPACE = "\u2581";

/** Ids by text; the first of two equal texts counts. */
export function indexTexts(texts: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (let id = 0; id < texts.length; id++) {
    const text = texts[id] as string;
    if (!ids.has(text)) ids.set(text, id);
  }
  return ids;
}

/** A token is looked up by its text, so text that two ids share belongs to the first. */
export function vocabularyObject(ids: ReadonlyMap<string, number>): Record<string, number> {
  // A null prototype, since "__proto__" is a legal token.
  const vocabulary: Record<string, number> = Object.create(null);
  for (const [text, id] of ids) vocabulary[text] = id;
  return vocabulary;
}

/**
 * Merge rules that reproduce SentencePiece's BPE, which joins the neighbours whose joint piece has the best score:
 * every split of every piece into two pieces, best score first.
 * @throws TOKENIZER_FORMAT when there are absurdly many.
 */
export function mergesFromScores(
  vocabulary: SentencePieceVocabulary,
  ids: ReadonlyMap<string, number>,
): string[][] {
  const joinable = (id: number | undefined): boolean => {
    const type = id === undefined ? undefined : vocabulary.types[id];
    return type === PIECE_TYPE.normal || type === PIECE_TYPE.unused;
  };
  const left: string[] = [];
  const right: string[] = [];
  const score: number[] = [];
  for (let id = 0; id < vocabulary.texts.length; id++) {
    const text = vocabulary.texts[id] as string;
    if (!joinable(id) || ids.get(text) !== id) continue;
    for (let cut = 1; cut < text.length; cut++) {
      const head = text.slice(0, cut);
      if (!joinable(ids.get(head))) continue;
      const tail = text.slice(cut);
      if (!joinable(ids.get(tail))) continue;
      left.push(head);
      right.push(tail);
      score.push(vocabulary.scores[id] as number);
      if (left.length > MERGE_COUNT_MAX)
        throw tokenizerFormatError("the merges of the vocabulary", `at most ${MERGE_COUNT_MAX}`, "more");
    }
  }
  const order = Uint32Array.from(left.keys());
  const at = (list: readonly string[], index: number): number => (list[index] as string).length;
  order.sort(
    (a, b) =>
      (score[b] as number) - (score[a] as number) ||
      at(left, b) - at(left, a) ||
      at(right, b) - at(right, a) ||
      a - b,
  );
  return Array.from(order, (index) => [left[index] as string, right[index] as string]);
}

function addedTokens(vocabulary: SentencePieceVocabulary): AddedTokenJson[] {
  const added: AddedTokenJson[] = [];
  for (let id = 0; id < vocabulary.texts.length; id++) {
    const type = vocabulary.types[id];
    const text = vocabulary.texts[id] as string;
    if (text === "") continue;
    if (type === PIECE_TYPE.control || type === PIECE_TYPE.unknown) added.push(addedToken(id, text, true));
    if (type === PIECE_TYPE.userDefined) added.push(addedToken(id, text, false));
  }
  return added;
}

function normalizer(vocabulary: SentencePieceVocabulary): ComponentJson {
  const steps: ComponentJson[] = [];
  if (vocabulary.charactersMap !== null)
    steps.push({ type: "Precompiled", precompiled_charsmap: vocabulary.charactersMap });
  if (vocabulary.removeExtraSpaces) {
    // Spaces only: a Strip component would take every kind of white space.
    steps.push({ type: "Replace", pattern: { Regex: "\\A +| +\\z" }, content: "" });
    steps.push({ type: "Replace", pattern: { Regex: " {2,}" }, content: " " });
  }
  if (vocabulary.addSpacePrefix) steps.push({ type: "Prepend", prepend: SPACE });
  steps.push({ type: "Replace", pattern: { String: " " }, content: SPACE });
  return { type: "Sequence", normalizers: steps };
}

function decoder(vocabulary: SentencePieceVocabulary): ComponentJson {
  const steps: ComponentJson[] = [
    { type: "Replace", pattern: { String: SPACE }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ];
  if (vocabulary.addSpacePrefix) steps.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  return { type: "Sequence", decoders: steps };
}

function model(vocabulary: SentencePieceVocabulary, ids: ReadonlyMap<string, number>): ComponentJson {
  const { texts, scores, special } = vocabulary;
  const byteFallback = Array.prototype.includes.call(vocabulary.types, PIECE_TYPE.byte);
  if (vocabulary.algorithm === "bpe") {
    return {
      type: "BPE",
      dropout: null,
      unk_token: special.unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: byteFallback,
      ignore_merges: false,
      vocab: vocabularyObject(ids),
      merges: mergesFromScores(vocabulary, ids),
    };
  }
  const unknownId = special.unknown === null ? undefined : ids.get(special.unknown);
  if (unknownId === undefined)
    throw tokenizerFormatError("the unigram vocabulary", "one with an unknown token", "one without");
  return {
    type: "Unigram",
    unk_id: unknownId,
    byte_fallback: byteFallback,
    vocab: texts.map((text, id) => [text, scores[id]]),
  };
}

/** Builds the parts of tokenizer.json from a SentencePiece vocabulary. @throws TOKENIZER_FORMAT. */
export function sentencePieceParts(vocabulary: SentencePieceVocabulary): TokenizerParts {
  const ids = indexTexts(vocabulary.texts);
  return {
    addedTokens: addedTokens(vocabulary),
    normalizer: normalizer(vocabulary),
    preTokenizer: null,
    postProcessor: specialTokensTemplate(vocabulary.special, (text) => ids.get(text)),
    decoder: decoder(vocabulary),
    model: model(vocabulary, ids),
  };
}

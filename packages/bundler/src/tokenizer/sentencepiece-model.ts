import { TOKEN_COUNT_MAX, TOKEN_LENGTH_MAX, tokenizerFormatError } from "./tokenizer-json.js";

/** What this project reads of a `tokenizer.model` file. Arrays have one entry per token id. */
export interface SentencePieceModel {
  readonly algorithm: "bpe" | "unigram" | "other";
  readonly texts: readonly string[];
  readonly scores: readonly number[];
  readonly types: readonly number[];
  readonly unknownId: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly paddingId: number;
  readonly addDummyPrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
  /** Compiled character map; empty for none. A view of the input. */
  readonly charactersMap: Uint8Array;
}

/** A field of a protobuf message: varints and fixed numbers in `number`, length-delimited ones in `bytes` (a view). */
interface Field {
  readonly tag: number;
  readonly wire: number;
  readonly number: number;
  readonly bytes: Uint8Array;
}

const NOTHING: Uint8Array = new Uint8Array(0);

function readVarint(bytes: Uint8Array, start: number): { value: number; end: number } {
  let value = 0;
  let scale = 1;
  // A varint has at most 10 bytes; negative numbers use all of them and only their low 32 bits count here.
  for (let index = 0; index < 10; index++) {
    const byte = bytes[start + index];
    if (byte === undefined) break;
    if (index < 7) value += (byte & 127) * scale;
    scale *= 128;
    if (byte < 128) return { value, end: start + index + 1 };
  }
  throw tokenizerFormatError("tokenizer.model", "a complete number", `the end of the data at byte ${start}`);
}

function* readFields(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let position = 0;
  while (position < bytes.length) {
    const key = readVarint(bytes, position);
    const tag = Math.floor(key.value / 8);
    const wire = key.value % 8;
    position = key.end;
    let number = 0;
    let content: Uint8Array = NOTHING;
    let end = position;
    if (wire === 0) {
      const varint = readVarint(bytes, position);
      number = varint.value;
      end = varint.end;
    } else if (wire === 2) {
      const length = readVarint(bytes, position);
      end = length.end + length.value;
      content = bytes.subarray(length.end, end);
    } else if (wire === 1) end = position + 8;
    else if (wire === 5) end = position + 4;
    else throw tokenizerFormatError("tokenizer.model", "a SentencePiece protobuf", `wire type ${wire}`);
    if (tag === 0 || end > bytes.length)
      throw tokenizerFormatError(
        "tokenizer.model",
        "a SentencePiece protobuf",
        `a broken field at byte ${position}`,
      );
    if (wire === 5) number = view.getFloat32(position, true);
    yield { tag, wire, number, bytes: content };
    position = end;
  }
}

function readPiece(
  bytes: Uint8Array,
  decoder: InstanceType<typeof TextDecoder>,
): { text: string; score: number; type: number } {
  const piece = { text: "", score: 0, type: 1 };
  for (const field of readFields(bytes)) {
    if (field.tag === 1 && field.wire === 2) {
      if (field.bytes.length > TOKEN_LENGTH_MAX)
        throw tokenizerFormatError(
          "a piece of tokenizer.model",
          `at most ${TOKEN_LENGTH_MAX} bytes`,
          `${field.bytes.length}`,
        );
      piece.text = decoder.decode(field.bytes);
    } else if (field.tag === 2 && field.wire === 5)
      piece.score = Number.isFinite(field.number) ? field.number : 0;
    else if (field.tag === 3 && field.wire === 0) piece.type = field.number;
  }
  return piece;
}

/** Reads numbers of a trainer or normalizer message by tag; later ones win, as protobuf has it. */
function readNumbers(bytes: Uint8Array): Map<number, number> {
  const numbers = new Map<number, number>();
  for (const field of readFields(bytes)) if (field.wire === 0) numbers.set(field.tag, field.number | 0);
  return numbers;
}

/**
 * Parses a SentencePiece model file. Every length is checked against the data, so hostile input ends in an error.
 * @throws TOKENIZER_FORMAT.
 */
export function parseSentencePieceModel(bytes: Uint8Array): SentencePieceModel {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const texts: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  let trainer = new Map<number, number>();
  let rules = new Map<number, number>();
  let charactersMap: Uint8Array = NOTHING;
  for (const field of readFields(bytes)) {
    if (field.wire !== 2) continue;
    if (field.tag === 1) {
      if (texts.length === TOKEN_COUNT_MAX)
        throw tokenizerFormatError("tokenizer.model", `at most ${TOKEN_COUNT_MAX} pieces`, "more");
      const piece = readPiece(field.bytes, decoder);
      texts.push(piece.text);
      scores.push(piece.score);
      types.push(piece.type);
    } else if (field.tag === 2) trainer = readNumbers(field.bytes);
    else if (field.tag === 3) {
      rules = readNumbers(field.bytes);
      for (const rule of readFields(field.bytes))
        if (rule.tag === 2 && rule.wire === 2) charactersMap = rule.bytes;
    }
  }
  if (texts.length === 0) throw tokenizerFormatError("tokenizer.model", "a vocabulary", "no pieces");
  const kind = trainer.get(3) ?? 1;
  return {
    algorithm: kind === 1 ? "unigram" : kind === 2 ? "bpe" : "other",
    texts,
    scores,
    types,
    unknownId: trainer.get(40) ?? 0,
    bosId: trainer.get(41) ?? 1,
    eosId: trainer.get(42) ?? 2,
    paddingId: trainer.get(43) ?? -1,
    addDummyPrefix: (rules.get(3) ?? 1) !== 0,
    removeExtraWhitespaces: (rules.get(4) ?? 1) !== 0,
    charactersMap,
  };
}

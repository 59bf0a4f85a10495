import { isObject, type JsonObject } from "./mend-json.js";

/** How token texts become bytes: letters that stand for bytes, or SentencePiece pieces; null for any other kind. */
export type TokenSpelling = "byte-level" | "sentencepiece" | null;

const SPACE = "\u2581";
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

function components(decoder: unknown): JsonObject[] {
  if (!isObject(decoder)) return [];
  const parts = decoder.decoders;
  return Array.isArray(parts) ? parts.flatMap(components) : [decoder];
}

/** Tells the spelling from the `decoder` of tokenizer.json. */
export function tokenSpelling(decoder: unknown): TokenSpelling {
  const types = new Set(components(decoder).map((part) => part.type));
  if (types.has("ByteLevel")) return "byte-level";
  const known = ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
  const metaspace = types.has("ByteFallback") || types.has("Metaspace");
  return metaspace && [...types].every((type) => known.includes(String(type))) ? "sentencepiece" : null;
}

/** True when the decoder takes the space away that encoding put before the text. */
export function dropsFirstSpace(decoder: unknown): boolean {
  return components(decoder).some(
    (part) =>
      (part.type === "Strip" && part.content === " " && Number(part.start) > 0) ||
      (part.type === "Metaspace" && part.prepend_scheme !== "never" && part.add_prefix_space !== false),
  );
}

/** Byte of each letter of byte-level token texts: printable Latin-1 stands for itself, the rest follows from 256 on. */
function byteLetters(): Map<string, number> {
  const letters = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    letters.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return letters;
}

const LETTERS: ReadonlyMap<string, number> = byteLetters();
const ENCODER: { encode(text: string): Uint8Array } = new TextEncoder();

function byteLevelBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) {
    const byte = LETTERS.get(text.charAt(index));
    // Not an alphabet of bytes after all: an added token that nobody declared.
    if (byte === undefined) return ENCODER.encode(text);
    bytes[index] = byte;
  }
  return bytes;
}

/** Bytes of a token's text; `added` tokens are plain text. The caller owns the result. */
export function tokenBytes(
  text: string,
  spelling: "byte-level" | "sentencepiece",
  added: boolean,
): Uint8Array {
  if (spelling === "byte-level") return added ? ENCODER.encode(text) : byteLevelBytes(text);
  const byte = BYTE_TOKEN.exec(text);
  if (byte !== null) return Uint8Array.of(Number.parseInt(byte[1] as string, 16));
  return ENCODER.encode(text.replaceAll(SPACE, " "));
}

import { CHAT_TEMPLATE_LENGTH_MAX, TOKEN_LENGTH_MAX, tokenizerFormatError } from "./tokenizer-json.js";

/** Metadata of a GGUF file by key: numbers, bigints, booleans, strings, arrays and typed arrays of these. */
export type GgufMetadata = Readonly<Record<string, unknown>>;

function own(metadata: GgufMetadata, key: string): unknown {
  return Object.hasOwn(metadata, key) ? metadata[key] : undefined;
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return "an array";
  if (typeof value === "string") return `"${value.slice(0, 60)}"`;
  return typeof value === "object" ? "an object" : String(value);
}

/** A string, or null where the key is absent. @throws TOKENIZER_FORMAT for another type or too long a text. */
export function readString(metadata: GgufMetadata, key: string): string | null {
  const value = own(metadata, key);
  if (value === undefined || value === null) return null;
  if (typeof value !== "string") throw tokenizerFormatError(key, "a string", describe(value));
  if (value.length > CHAT_TEMPLATE_LENGTH_MAX)
    throw tokenizerFormatError(key, `at most ${CHAT_TEMPLATE_LENGTH_MAX} characters`, `${value.length}`);
  return value;
}

/** A boolean (0 and 1 are taken too), or null where the key is absent. @throws TOKENIZER_FORMAT. */
export function readBoolean(metadata: GgufMetadata, key: string): boolean | null {
  const value = own(metadata, key);
  if (value === undefined || value === null) return null;
  if (typeof value === "boolean") return value;
  if (value === 0 || value === 1 || value === 0n || value === 1n) return Number(value) === 1;
  throw tokenizerFormatError(key, "true or false", describe(value));
}

/** A token id below `tokenCount`, or null where the key is absent or says -1 (none). @throws TOKENIZER_FORMAT. */
export function readTokenId(metadata: GgufMetadata, key: string, tokenCount: number): number | null {
  const value = own(metadata, key);
  if (value === undefined || value === null) return null;
  const id = typeof value === "bigint" ? Number(value) : value;
  // Files say "none" as -1, or as the same bits without a sign.
  if (id === -1 || id === 0xffffffff) return null;
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= tokenCount)
    throw tokenizerFormatError(key, `a token id below ${tokenCount}`, describe(value));
  return id;
}

function arrayOf(metadata: GgufMetadata, key: string, countMax: number): ArrayLike<unknown> | null {
  const value = own(metadata, key);
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && !(value instanceof DataView)))
    throw tokenizerFormatError(key, "an array", describe(value));
  const list = value as unknown as ArrayLike<unknown>;
  if (list.length > countMax)
    throw tokenizerFormatError(key, `at most ${countMax} entries`, `${list.length}`);
  return list;
}

/** Strings of bounded length, or null where the key is absent. @throws TOKENIZER_FORMAT. */
export function readStrings(metadata: GgufMetadata, key: string, countMax: number): string[] | null {
  const list = arrayOf(metadata, key, countMax);
  if (list === null) return null;
  return Array.from(list, (item, index) => {
    if (typeof item !== "string") throw tokenizerFormatError(`${key}[${index}]`, "a string", describe(item));
    if (item.length > TOKEN_LENGTH_MAX)
      throw tokenizerFormatError(
        `${key}[${index}]`,
        `at most ${TOKEN_LENGTH_MAX} characters`,
        `${item.length}`,
      );
    return item;
  });
}

/** Exactly `count` finite numbers, or null where the key is absent. @throws TOKENIZER_FORMAT. */
export function readNumbers(metadata: GgufMetadata, key: string, count: number): Float64Array | null {
  const list = arrayOf(metadata, key, Number.MAX_SAFE_INTEGER);
  if (list === null) return null;
  if (list.length !== count)
    throw tokenizerFormatError(key, `${count} entries, one per token`, `${list.length}`);
  const numbers = new Float64Array(count);
  for (let index = 0; index < count; index++) {
    const item = list[index];
    const number = typeof item === "bigint" ? Number(item) : item;
    if (typeof number !== "number" || Number.isNaN(number))
      throw tokenizerFormatError(`${key}[${index}]`, "a number", describe(item));
    numbers[index] = Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, number));
  }
  return numbers;
}

/** Bytes as base64 (the array holds signed or unsigned bytes), or null where the key is absent. @throws TOKENIZER_FORMAT. */
export function readBytes(metadata: GgufMetadata, key: string, lengthMax: number): string | null {
  const list = arrayOf(metadata, key, lengthMax);
  if (list === null || list.length === 0) return null;
  const bytes = Uint8Array.from({ length: list.length }, (_, index) => {
    const byte = Number(list[index]);
    if (!Number.isInteger(byte) || byte < -128 || byte > 255)
      throw tokenizerFormatError(`${key}[${index}]`, "a byte", describe(list[index]));
    return byte & 255;
  });
  return Buffer.from(bytes).toString("base64");
}

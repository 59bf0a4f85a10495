import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { Tokenizer } from "@huggingface/tokenizers";
import { cutAtSpaces, isObject, type JsonObject, mendPreTokenizer } from "./mend-json.js";
import { addByteFallback, type UnigramModel } from "./mend-unigram.js";
import { LibraryTokenizer, type TextTokenizer } from "./text-tokenizer.js";
import { dropsFirstSpace, tokenSpelling } from "./token-bytes.js";

/** The largest published tokenizer files have about 35 MB. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;
/** Ids above it would make sparse tables of the vocabulary. */
const TOKEN_ID_MAX = 4_000_000;

function formatError(path: string, expected: string, actual: string, cause?: unknown): FlashlmError {
  return new FlashlmError(
    "TOKENIZER_FORMAT",
    `tokenizer: expected ${path} to be ${expected}, found ${actual}; convert the model again or fetch the file anew`,
    { path, expected, actual },
    cause,
  );
}

async function readText(path: string): Promise<string | null> {
  const found = await stat(path).catch(() => null);
  if (found === null || !found.isFile()) return null;
  if (found.size > FILE_BYTES_MAX)
    throw formatError(path, `at most ${FILE_BYTES_MAX} bytes`, `${found.size}`);
  return readFile(path, "utf8");
}

async function readObject(path: string): Promise<JsonObject | null> {
  const text = await readText(path);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw formatError(path, "JSON", (cause as Error).message.slice(0, 120), cause);
  }
  if (!isObject(value))
    throw formatError(path, "a JSON object", Array.isArray(value) ? "an array" : String(value));
  return value;
}

/** Several templates may be listed by name; the one for chat is called "default". */
function pickTemplate(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value.filter(isObject);
  const template = (named.find((item) => item.name === "default") ?? named[0])?.template;
  return typeof template === "string" ? template : null;
}

async function readChatTemplate(folder: string, config: JsonObject): Promise<string | null> {
  return (
    (await readText(join(folder, "chat_template.jinja"))) ??
    pickTemplate((await readObject(join(folder, "chat_template.json")))?.chat_template) ??
    pickTemplate(config.chat_template)
  );
}

function specialTokens(config: JsonObject): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"]) {
    const value = config[name];
    const text = isObject(value) ? value.content : value;
    if (typeof text === "string") found[name] = text;
  }
  return found;
}

/** Checks the ids, which become indices of tables; returns one more than the largest. */
function checkedVocabularySize(path: string, model: JsonObject, added: readonly unknown[]): number {
  let largest = -1;
  const take = (id: unknown): void => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > TOKEN_ID_MAX)
      throw formatError(
        path,
        `a vocabulary with ids from 0 to ${TOKEN_ID_MAX}`,
        `id ${String(id).slice(0, 40)}`,
      );
    if (id > largest) largest = id;
  };
  const vocabulary = model.vocab;
  if (Array.isArray(vocabulary)) {
    for (const entry of vocabulary) {
      if (!Array.isArray(entry) || typeof entry[0] !== "string" || typeof entry[1] !== "number")
        throw formatError(path, "a vocabulary of texts with scores", "another entry");
    }
    if (vocabulary.length > 0) take(vocabulary.length - 1);
  } else if (isObject(vocabulary)) for (const text in vocabulary) take(vocabulary[text]);
  else throw formatError(path, "a tokenizer with a vocabulary", "none");
  for (const token of added) {
    if (!isObject(token) || typeof token.content !== "string" || token.content === "")
      throw formatError(path, "a list of added tokens with their texts", "another entry");
    take(token.id);
  }
  return largest + 1;
}

/** The library keeps its input. Once its tables are built, the parsed JSON is only weight. */
function releaseInput(library: Tokenizer): void {
  const inside = library as unknown as {
    tokenizer: unknown;
    model: { config: JsonObject; merges?: unknown };
  };
  inside.tokenizer = null;
  // Small settings are still read from it later.
  inside.model.config.vocab = null;
  inside.model.config.merges = null;
  if (inside.model.merges !== undefined) inside.model.merges = [];
}

function build(
  path: string,
  json: JsonObject,
  config: JsonObject,
  chatTemplate: string | null,
): TextTokenizer {
  const model = json.model;
  if (!isObject(model)) throw formatError(path, "a tokenizer with a model", "none");
  const added = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const vocabularySize = checkedVocabularySize(path, model, added);
  const found = isObject(json.pre_tokenizer) ? mendPreTokenizer(json.pre_tokenizer) : null;
  const names = specialTokens(config);
  const { chat_template: _, ...slimConfig } = config;
  let library: Tokenizer;
  try {
    library = new Tokenizer(
      {
        normalizer: null,
        post_processor: null,
        decoder: null,
        ...json,
        added_tokens: added,
        pre_tokenizer: cutAtSpaces(model, found),
      },
      { ...slimConfig, ...names },
    );
  } catch (cause) {
    throw new FlashlmError(
      "TOKENIZER_UNSUPPORTED",
      `tokenizer: ${path} asks for something that is not supported (${(cause as Error).message})`,
      { path },
      cause,
    );
  }
  if (model.type === "Unigram")
    addByteFallback(library.model as unknown as UnigramModel, model.byte_fallback === true);
  releaseInput(library);
  const bos = config.add_bos_token === true ? names.bos_token : undefined;
  return new LibraryTokenizer({
    library,
    spelling: tokenSpelling(json.decoder),
    dropsFirstSpace: dropsFirstSpace(json.decoder),
    vocabularySize,
    bos: bos === undefined ? undefined : library.token_to_id(bos),
    chatTemplate,
    specialTokens: names,
  });
}

/**
 * Loads the tokenizer of a bundle or a Hugging Face folder from tokenizer.json and tokenizer_config.json, or gives null
 * where the folder has no tokenizer.json. The chat template comes from chat_template.jinja, chat_template.json or the config.
 * @throws TOKENIZER_FORMAT for damaged files, TOKENIZER_UNSUPPORTED for parts that are not known.
 */
export async function loadTokenizer(folder: string): Promise<TextTokenizer | null> {
  const path = join(folder, "tokenizer.json");
  const json = await readObject(path);
  if (json === null) return null;
  const config = (await readObject(join(folder, "tokenizer_config.json"))) ?? {};
  return build(path, json, config, await readChatTemplate(folder, config));
}

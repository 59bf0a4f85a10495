import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FlashlmError } from "@flashlm/contracts";
import { PIECE_TYPE, sentencePieceParts } from "./sentencepiece-json.js";
import { parseSentencePieceModel } from "./sentencepiece-model.js";
import {
  CHAT_TEMPLATE_LENGTH_MAX,
  type TokenizerFile,
  tokenizerFiles,
  tokenizerFormatError,
} from "./tokenizer-json.js";

/** The largest published tokenizer files have about 35 MB. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

type JsonObject = Readonly<Record<string, unknown>>;

async function readOptional(path: string): Promise<Uint8Array | null> {
  const found = await stat(path).catch(() => null);
  if (found === null || !found.isFile()) return null;
  if (found.size > FILE_BYTES_MAX)
    throw tokenizerFormatError(path, `at most ${FILE_BYTES_MAX} bytes`, `${found.size}`);
  return readFile(path);
}

async function readText(path: string): Promise<string | null> {
  const bytes = await readOptional(path);
  return bytes === null ? null : new TextDecoder().decode(bytes);
}

function parseObject(text: string, name: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw tokenizerFormatError(name, "JSON", String((cause as Error).message).slice(0, 120));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw tokenizerFormatError(
      name,
      "a JSON object",
      Array.isArray(value) ? "an array" : String(value).slice(0, 60),
    );
  return value as JsonObject;
}

async function readObject(folder: string, name: string): Promise<JsonObject | null> {
  const text = await readText(join(folder, name));
  return text === null ? null : parseObject(text, name);
}

/** Several templates may be listed by name; the one for chat is called "default". */
function pickTemplate(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  const named = value.filter((item): item is JsonObject => typeof item === "object" && item !== null);
  const template = (named.find((item) => item.name === "default") ?? named[0])?.template;
  return typeof template === "string" ? template : null;
}

async function readChatTemplate(folder: string, config: JsonObject): Promise<string | null> {
  const template =
    (await readText(join(folder, "chat_template.jinja"))) ??
    pickTemplate((await readObject(folder, "chat_template.json"))?.chat_template) ??
    pickTemplate(config.chat_template);
  if (template !== null && template.length > CHAT_TEMPLATE_LENGTH_MAX)
    throw tokenizerFormatError(
      "the chat template",
      `at most ${CHAT_TEMPLATE_LENGTH_MAX} characters`,
      `${template.length}`,
    );
  return template;
}

function tokenText(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return null;
  const content = (value as JsonObject).content;
  return typeof content === "string" ? content : null;
}

function convertModelFile(
  bytes: Uint8Array,
  config: JsonObject,
  chatTemplate: string | null,
): TokenizerFile[] {
  const model = parseSentencePieceModel(bytes);
  if (model.algorithm === "other") {
    throw new FlashlmError(
      "TOKENIZER_UNSUPPORTED",
      "tokenizer: expected tokenizer.model to be of SentencePiece's unigram or BPE kind, found its word or character kind; " +
        "save the model with a tokenizer.json",
    );
  }
  const at = (id: number): string | null => (id < 0 ? null : (model.texts[id] ?? null));
  const flag = (name: string, otherwise: boolean): boolean => {
    const value = config[name];
    return typeof value === "boolean" ? value : otherwise;
  };
  const special = {
    bos: tokenText(config.bos_token) ?? at(model.bosId),
    eos: tokenText(config.eos_token) ?? at(model.eosId),
    unknown: at(model.unknownId) ?? tokenText(config.unk_token),
    padding: tokenText(config.pad_token) ?? at(model.paddingId),
    addBos: flag("add_bos_token", model.algorithm === "bpe"),
    addEos: flag("add_eos_token", model.algorithm === "unigram"),
  };
  // Only texts of the vocabulary can be added around a text.
  const known = new Set(model.texts);
  const checked = {
    ...special,
    bos: special.bos !== null && known.has(special.bos) ? special.bos : null,
    eos: special.eos !== null && known.has(special.eos) ? special.eos : null,
  };
  const parts = sentencePieceParts({
    algorithm: model.algorithm,
    // Added tokens are looked for in raw text, where a space is still a space.
    texts: model.texts.map((text, id) =>
      model.types[id] === PIECE_TYPE.userDefined ? text.replaceAll("\u2581", " ") : text,
    ),
    scores: model.scores,
    types: model.types,
    addSpacePrefix: model.addDummyPrefix,
    removeExtraSpaces: model.removeExtraWhitespaces,
    charactersMap:
      model.charactersMap.length === 0 ? null : Buffer.from(model.charactersMap).toString("base64"),
    special: checked,
  });
  return tokenizerFiles(parts, checked, chatTemplate);
}

/** The folder a Hugging Face checkpoint lies in: one of `paths`, or where the first file is. */
async function findFolder(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    const found = await stat(path).catch(() => null);
    if (found?.isDirectory()) return path;
  }
  return paths[0] === undefined ? null : dirname(paths[0]);
}

/**
 * Collects the tokenizer of a Hugging Face folder: tokenizer.json as it is, or one made from tokenizer.model, and a
 * tokenizer_config.json that holds the chat template. Empty where the folder has neither.
 * @throws TOKENIZER_FORMAT, TOKENIZER_UNSUPPORTED.
 */
export async function convertHuggingfaceTokenizer(paths: readonly string[]): Promise<TokenizerFile[]> {
  const folder = await findFolder(paths);
  if (folder === null) return [];
  const config = (await readObject(folder, "tokenizer_config.json")) ?? {};
  const chatTemplate = await readChatTemplate(folder, config);
  const text = await readText(join(folder, "tokenizer.json"));
  if (text !== null) {
    parseObject(text, "tokenizer.json");
    const merged = chatTemplate === null ? config : { ...config, chat_template: chatTemplate };
    return [
      { name: "tokenizer.json", text },
      { name: "tokenizer_config.json", text: `${JSON.stringify(merged, null, 2)}\n` },
    ];
  }
  const model = await readOptional(join(folder, "tokenizer.model"));
  return model === null ? [] : convertModelFile(model, config, chatTemplate);
}

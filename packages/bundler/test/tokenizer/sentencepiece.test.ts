import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
// What is written here is for the runtime's tokenizer, so the test asks that one.
import { loadTokenizer, type TextTokenizer } from "../../../runtime/src/tokenizer/index.js";
import { convertTokenizer } from "../../src/tokenizer/index.js";
import { parseSentencePieceModel } from "../../src/tokenizer/sentencepiece-model.js";

interface Recorded {
  model: string;
  cases: { text: string; tokens: number[]; decoded: string }[];
}

/** Small models trained with SentencePiece itself, and what it makes of some texts. */
const recorded = JSON.parse(readFileSync(new URL("./sentencepiece.json", import.meta.url), "utf8")) as Record<
  string,
  Recorded
>;

function ggufMetadata(bytes: Uint8Array): Record<string, unknown> {
  const model = parseSentencePieceModel(bytes);
  return {
    "tokenizer.ggml.model": model.algorithm === "bpe" ? "llama" : "t5",
    "tokenizer.ggml.tokens": model.texts,
    "tokenizer.ggml.scores": Float32Array.from(model.scores),
    "tokenizer.ggml.token_type": Int32Array.from(model.types),
    "tokenizer.ggml.unknown_token_id": BigInt(model.unknownId),
    "tokenizer.ggml.bos_token_id": model.bosId,
    "tokenizer.ggml.eos_token_id": model.eosId,
    "tokenizer.ggml.add_space_prefix": model.addDummyPrefix,
    "tokenizer.ggml.remove_extra_whitespaces": model.removeExtraWhitespaces,
  };
}

describe.each(Object.keys(recorded))("SentencePiece %s", (name) => {
  const { model, cases } = recorded[name] as Recorded;
  const bytes = Buffer.from(model, "base64");
  const folders: string[] = [];
  const tokenizers: TextTokenizer[] = [];

  async function load(files: readonly { name: string; text: string }[]): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "flashlm-tokenizer-"));
    folders.push(folder);
    for (const file of files) await writeFile(join(folder, file.name), file.text);
    tokenizers.push((await loadTokenizer(folder)) as TextTokenizer);
  }

  beforeAll(async () => {
    const source = await mkdtemp(join(tmpdir(), "flashlm-tokenizer-"));
    folders.push(source);
    await writeFile(join(source, "tokenizer.model"), bytes);
    await load((await convertTokenizer({ format: "huggingface", paths: [source] })).files);
    await load(
      (await convertTokenizer({ format: "gguf", paths: [], ggufMetadata: ggufMetadata(bytes) })).files,
    );
  });
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true });
  });

  it.each(cases.map((item) => [JSON.stringify(item.text), item] as const))(
    "%s",
    (_, { text, tokens, decoded }) => {
      for (const tokenizer of tokenizers) {
        expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(tokens);
        // SentencePiece writes unknown text as a sign of its own, others write the token's name.
        if (!decoded.includes("\u2047") && !text.startsWith("\u2581"))
          expect(tokenizer.decode(tokens)).toBe(decoded);
      }
    },
  );
});

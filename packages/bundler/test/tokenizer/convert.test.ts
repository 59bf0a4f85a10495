import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FlashlmError } from "@flashlm/contracts";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { loadTokenizer, type TextTokenizer } from "../../../runtime/src/tokenizer/index.js";
import { convertTokenizer, knownPreTokenizers, type TokenizerFile } from "../../src/tokenizer/index.js";
import { parseSentencePieceModel } from "../../src/tokenizer/sentencepiece-model.js";
import { readGgufMetadata } from "./mini-gguf.js";

const shared = fileURLToPath(new URL("../../../../../shared/", import.meta.url));
const gguf = `${shared}models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf`;
const folders: string[] = [];

function folderOf(files: readonly TokenizerFile[]): string {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-tokenizer-"));
  folders.push(folder);
  for (const file of files) writeFileSync(join(folder, file.name), file.text);
  return folder;
}

async function load(metadata: Record<string, unknown>): Promise<TextTokenizer> {
  const { files } = await convertTokenizer({ format: "gguf", paths: [], ggufMetadata: metadata });
  expect(files.map((file) => file.name)).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  return (await loadTokenizer(folderOf(files))) as TextTokenizer;
}

async function codeOf(metadata: Record<string, unknown>): Promise<string> {
  try {
    await convertTokenizer({ format: "gguf", paths: [], ggufMetadata: metadata });
    return "none";
  } catch (error) {
    return FlashlmError.isInstance(error) ? error.code : `not ours: ${String(error)}`;
  }
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe.skipIf(!existsSync(gguf))("the embedded model's GGUF", () => {
  it("gives the tokenizer of the Hugging Face files", async () => {
    const handle = await open(gguf);
    const head = Buffer.alloc(4 * 1024 * 1024);
    await handle.read(head, 0, head.length, 0);
    await handle.close();
    const { files } = await convertTokenizer({
      format: "gguf",
      paths: [gguf],
      ggufMetadata: readGgufMetadata(head),
    });
    const made = JSON.parse(files[0]?.text ?? "");
    const reference = JSON.parse(
      readFileSync(`${shared}fixtures/smollm2/hf-tokenizer/tokenizer.json`, "utf8"),
    );
    expect(made.model.vocab).toEqual(reference.model.vocab);
    expect(made.model.merges).toEqual(reference.model.merges);
    const texts = (json: { added_tokens: { id: number; content: string; special: boolean }[] }): unknown[] =>
      json.added_tokens.map(({ id, content, special }) => [id, content, special]);
    expect(texts(made)).toEqual(texts(reference));
    expect(JSON.parse(files[1]?.text ?? "")).toMatchObject({
      bos_token: "<|im_start|>",
      eos_token: "<|im_end|>",
      add_bos_token: false,
    });

    const tokenizer = (await loadTokenizer(folderOf(files))) as TextTokenizer;
    const oracle = JSON.parse(readFileSync(`${shared}fixtures/smollm2/tokenizer.json`, "utf8"));
    for (const { text, tokens, bytesBack } of oracle.tokenize) {
      expect(tokenizer.encode(text)).toEqual(tokens);
      expect(tokenizer.decode(tokens)).toBe(bytesBack);
    }
    for (const { messages, addGenerationPrompt, text } of oracle.chatTemplate)
      expect(tokenizer.renderChat(messages, { addGenerationPrompt })).toBe(text);
  });
});

/** Pieces by hand: ids 0..2 special, 3..258 bytes, then text. */
function llamaMetadata(extra: Record<string, unknown> = {}): Record<string, unknown> {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
  const words = ["▁a", "ab", "▁ab", "▁", "a", "b", "c", "<end>"];
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytes, ...words],
    "tokenizer.ggml.scores": [0, 0, 0, ...bytes.map(() => 0), -2, -1, -3, -4, -5, -6, -7, 0],
    "tokenizer.ggml.token_type": [2, 3, 3, ...bytes.map(() => 6), 1, 1, 1, 1, 1, 1, 1, 4],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    ...extra,
  };
}

describe("SentencePiece from GGUF, by hand", () => {
  it("joins by score, falls back to bytes, and puts BOS and a space before", async () => {
    const tokenizer = await load(llamaMetadata());
    // "▁ab": "ab" scores best (-1), then "▁" + "ab" make "▁ab".
    expect(tokenizer.encode("ab")).toEqual([1, 261]);
    expect(tokenizer.encode("ab", { addSpecialTokens: false })).toEqual([261]);
    expect(tokenizer.encode("ac", { addSpecialTokens: false })).toEqual([259, 265]);
    expect(tokenizer.encode("é", { addSpecialTokens: false })).toEqual([262, 3 + 0xc3, 3 + 0xa9]);
    expect(tokenizer.encode("<end>ab</s>", { addSpecialTokens: false })).toEqual([266, 261, 2]);
    expect(tokenizer.decode([261, 262, 3 + 0xc3, 3 + 0xa9])).toBe("ab é");
    expect(tokenizer.decode([1, 261], { skipSpecialTokens: true })).toBe("ab");
    const stream = tokenizer.createStreamDecoder();
    expect([261, 3 + 0xc3, 3 + 0xa9].map((id) => stream.push(id))).toEqual([" ab", "", "é"]);
  });

  it("obeys add_bos_token and add_space_prefix", async () => {
    const tokenizer = await load(
      llamaMetadata({ "tokenizer.ggml.add_bos_token": false, "tokenizer.ggml.add_space_prefix": false }),
    );
    expect(tokenizer.encode("ab")).toEqual([260]);
    expect(tokenizer.decode([261])).toBe(" ab");
  });

  it("adds EOS where asked, and BOS once", async () => {
    const tokenizer = await load(llamaMetadata({ "tokenizer.ggml.add_eos_token": true }));
    expect(tokenizer.encode("ab")).toEqual([1, 261, 2]);
    expect(tokenizer.encode("")).toEqual([1, 2]);
  });
});

describe("checkpoints without a tokenizer", () => {
  it.each([{}, { "tokenizer.ggml.model": "no_vocab" }, { "tokenizer.ggml.model": "none" }])(
    "%j",
    async (metadata) => {
      expect(await convertTokenizer({ format: "gguf", paths: [], ggufMetadata: metadata })).toEqual({
        files: [],
      });
    },
  );
  it("is fine for a folder too", async () => {
    expect(await convertTokenizer({ format: "huggingface", paths: [folderOf([])] })).toEqual({ files: [] });
  });
});

describe("Hugging Face folders", () => {
  const json = JSON.stringify({ model: { type: "BPE", vocab: { a: 0 }, merges: [] } });
  const cases: [string, TokenizerFile[], string | undefined][] = [
    ["config", [{ name: "tokenizer_config.json", text: '{"chat_template":"A"}' }], "A"],
    [
      "named list",
      [
        {
          name: "tokenizer_config.json",
          text: '{"chat_template":[{"name":"tool_use","template":"B"},{"name":"default","template":"A"}]}',
        },
      ],
      "A",
    ],
    [
      "jinja",
      [
        { name: "chat_template.jinja", text: "A" },
        { name: "tokenizer_config.json", text: '{"chat_template":"B"}' },
      ],
      "A",
    ],
    ["json", [{ name: "chat_template.json", text: '{"chat_template":"A"}' }], "A"],
    ["none", [], undefined],
  ];
  it.each(cases)("folds the chat template in: %s", async (_, extra, template) => {
    const folder = folderOf([{ name: "tokenizer.json", text: json }, ...extra]);
    const { files } = await convertTokenizer({
      format: "huggingface",
      paths: [join(folder, "model.safetensors")],
    });
    expect(files[0]).toEqual({ name: "tokenizer.json", text: json });
    expect(JSON.parse(files[1]?.text ?? "").chat_template).toBe(template);
  });
  it("refuses broken JSON", async () => {
    const folder = folderOf([{ name: "tokenizer.json", text: "{" }]);
    await expect(convertTokenizer({ format: "huggingface", paths: [folder] })).rejects.toMatchObject({
      code: "TOKENIZER_FORMAT",
    });
  });
});

describe("hostile metadata", () => {
  const good = llamaMetadata();
  const bpe = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "__proto__"],
    "tokenizer.ggml.merges": ["a b"],
  };
  it.each<[string, Record<string, unknown>, string]>([
    ["unknown model", { "tokenizer.ggml.model": "rwkv" }, "TOKENIZER_UNSUPPORTED"],
    ["model of another type", { "tokenizer.ggml.model": 7 }, "TOKENIZER_FORMAT"],
    ["unknown pre-tokenizer", { ...bpe, "tokenizer.ggml.pre": "nobody" }, "TOKENIZER_UNSUPPORTED"],
    ["no tokens", { "tokenizer.ggml.model": "llama" }, "TOKENIZER_FORMAT"],
    ["no merges", { ...bpe, "tokenizer.ggml.merges": undefined }, "TOKENIZER_FORMAT"],
    ["a merge of one part", { ...bpe, "tokenizer.ggml.merges": ["ab"] }, "TOKENIZER_FORMAT"],
    ["tokens that are numbers", { ...bpe, "tokenizer.ggml.tokens": [1, 2] }, "TOKENIZER_FORMAT"],
    ["a huge token", { ...bpe, "tokenizer.ggml.tokens": ["a".repeat(5000)] }, "TOKENIZER_FORMAT"],
    ["a BOS outside", { ...good, "tokenizer.ggml.bos_token_id": 9999 }, "TOKENIZER_FORMAT"],
    ["few scores", { ...good, "tokenizer.ggml.scores": [1] }, "TOKENIZER_FORMAT"],
    ["no scores", { ...good, "tokenizer.ggml.scores": null }, "TOKENIZER_FORMAT"],
    [
      "types that are texts",
      { ...bpe, "tokenizer.ggml.token_type": ["x", "x", "x", "x"] },
      "TOKENIZER_FORMAT",
    ],
    ["a flag that is a text", { ...good, "tokenizer.ggml.add_bos_token": "yes" }, "TOKENIZER_FORMAT"],
    ["a huge template", { ...good, "tokenizer.chat_template": "x".repeat(2_000_000) }, "TOKENIZER_FORMAT"],
    ["nothing wrong", bpe, "none"],
  ])("%s", async (_, metadata, code) => {
    expect(await codeOf(metadata)).toBe(code);
  });

  it("knows the common pre-tokenizers, and keeps odd texts", async () => {
    expect(knownPreTokenizers()).toEqual(
      expect.arrayContaining(["smollm", "llama-bpe", "qwen2", "gpt-4o", "tekken"]),
    );
    const tokenizer = await load(bpe);
    expect(tokenizer.tokenId("__proto__")).toBe(3);
    expect(tokenizer.encode("abba")).toEqual([2, 1, 0]);
  });

  it("ends in an error of ours or a model for any bytes", () => {
    const bytes = Buffer.from(
      JSON.parse(readFileSync(new URL("./sentencepiece.json", import.meta.url), "utf8")).unigram.model,
      "base64",
    );
    const attempt = (data: Uint8Array): void => {
      try {
        parseSentencePieceModel(data);
      } catch (error) {
        if (!FlashlmError.isInstance(error)) throw error;
        expect(error.code).toBe("TOKENIZER_FORMAT");
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt), { numRuns: 300 });
    const flips = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length));
    fc.assert(
      fc.property(flips, ([at, value, end]) => {
        const copy = Uint8Array.from(bytes);
        copy[at] = value;
        attempt(copy.subarray(0, end));
      }),
      { numRuns: 200 },
    );
  });
});

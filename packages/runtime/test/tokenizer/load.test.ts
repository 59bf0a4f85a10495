import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadTokenizer, type TextTokenizer } from "../../src/tokenizer/index.js";

const folders: string[] = [];

function folderOf(files: Readonly<Record<string, unknown>>): string {
  const folder = mkdtempSync(join(tmpdir(), "flashlm-tokenizer-"));
  folders.push(folder);
  for (const [name, value] of Object.entries(files))
    writeFileSync(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));
  return folder;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2, "<s>": 3 }, merges: [["a", "b"]] };
const added = [{ id: 3, content: "<s>", special: true }];
const decoder = { type: "ByteLevel" };

describe("loadTokenizer", () => {
  it("gives null without a tokenizer", async () => {
    expect(await loadTokenizer(folderOf({}))).toBeNull();
    expect(await loadTokenizer("/nowhere/at/all")).toBeNull();
  });

  it.each<[string, unknown]>([
    ["no JSON", "{"],
    ["an array", []],
    ["no model", {}],
    ["no vocabulary", { model: { type: "BPE" } }],
    ["a huge id", { model: { type: "BPE", vocab: { a: 1e12 }, merges: [] } }],
    ["a negative id", { model: { type: "BPE", vocab: { a: -1 }, merges: [] } }],
    ["an odd unigram entry", { model: { type: "Unigram", vocab: [["a"]] } }],
    ["an odd added token", { model, added_tokens: [{ id: 1 }] }],
  ])("refuses %s", async (_, json) => {
    await expect(loadTokenizer(folderOf({ "tokenizer.json": json }))).rejects.toMatchObject({
      code: "TOKENIZER_FORMAT",
    });
  });

  it("names a part that is not known", async () => {
    const folder = folderOf({ "tokenizer.json": { model, normalizer: { type: "Mystery" } } });
    await expect(loadTokenizer(folder)).rejects.toMatchObject({
      code: "TOKENIZER_UNSUPPORTED",
      message: expect.stringContaining("Mystery"),
    });
  });

  it("adds BOS when only the config asks for it, once", async () => {
    const files = { "tokenizer.json": { model, decoder, added_tokens: added } };
    const config = { add_bos_token: true, bos_token: { content: "<s>" } };
    const tokenizer = (await loadTokenizer(
      folderOf({ ...files, "tokenizer_config.json": config }),
    )) as TextTokenizer;
    expect(tokenizer.encode("ab")).toEqual([3, 2]);
    expect(tokenizer.encode("<s>ab")).toEqual([3, 2]);
    expect(tokenizer.encode("ab", { addSpecialTokens: false })).toEqual([2]);
    const plain = (await loadTokenizer(folderOf(files))) as TextTokenizer;
    expect(plain.encode("ab")).toEqual([2]);
    expect(plain.decode([3, 2, 0])).toBe("<s>aba");
  });

  it("says what is wrong with a chat", async () => {
    const files = { "tokenizer.json": { model, decoder } };
    const load = async (template?: string): Promise<TextTokenizer> =>
      (await loadTokenizer(
        folderOf({ ...files, "tokenizer_config.json": { eos_token: "</s>", chat_template: template } }),
      )) as TextTokenizer;
    const user = [{ role: "user", content: "x" }];
    const none = await load();
    expect(none.hasChatTemplate).toBe(false);
    expect(() => none.renderChat(user)).toThrow(expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED" }));
    const broken = await load("{% if %}");
    expect(() => broken.renderChat(user)).toThrow(expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED" }));
    const strict = await load("{{ raise_exception('no users') }}");
    expect(() => strict.renderChat(user)).toThrow(
      expect.objectContaining({ code: "ENGINE_OPTION", message: expect.stringContaining("no users") }),
    );
    expect((await load("{{ messages[0].content + eos_token }}")).renderChat(user)).toBe("x</s>");
  });

  it("decodes by the library where the spelling is another", async () => {
    const json = {
      model: {
        type: "WordPiece",
        unk_token: "[UNK]",
        continuing_subword_prefix: "##",
        vocab: { "[UNK]": 0, un: 1, "##do": 2, it: 3 },
      },
      pre_tokenizer: { type: "WhitespaceSplit" },
      decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    };
    const tokenizer = (await loadTokenizer(folderOf({ "tokenizer.json": json }))) as TextTokenizer;
    expect(tokenizer.encode("undo it")).toEqual([1, 2, 3]);
    expect(tokenizer.decode([1, 2, 3])).toBe("undo it");
    const stream = tokenizer.createStreamDecoder();
    expect([1, 2, 3].map((id) => stream.push(id)).join("") + stream.end()).toBe("undo it");
  });
});

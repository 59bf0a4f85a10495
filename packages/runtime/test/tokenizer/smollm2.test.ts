import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer, type TextTokenizer } from "../../src/tokenizer/index.js";

const shared = fileURLToPath(new URL("../../../../../shared/", import.meta.url));
const oracle = `${shared}fixtures/smollm2/tokenizer.json`;

interface Oracle {
  tokenize: { text: string; tokens: number[]; bytesBack: string }[];
  chatTemplate: {
    messages: { role: string; content: string }[];
    addGenerationPrompt: boolean;
    text: string;
  }[];
}

describe.skipIf(!existsSync(oracle))("the embedded model's tokenizer, from its Hugging Face files", () => {
  const cases = (existsSync(oracle) ? JSON.parse(readFileSync(oracle, "utf8")) : { tokenize: [] }) as Oracle;
  let tokenizer: TextTokenizer;
  beforeAll(async () => {
    tokenizer = (await loadTokenizer(`${shared}fixtures/smollm2/hf-tokenizer`)) as TextTokenizer;
  });

  it("has all reference cases", () => {
    expect(cases.tokenize.length).toBe(41);
    expect(tokenizer.vocabularySize).toBe(49152);
    expect(tokenizer.tokenId("<|im_end|>")).toBe(2);
    expect(tokenizer.hasChatTemplate).toBe(true);
  });

  it.each(cases.tokenize.map((item) => [JSON.stringify(item.text).slice(0, 50), item] as const))(
    "tokenizes %s as the reference does, and back",
    (_, { text, tokens, bytesBack }) => {
      expect(tokenizer.encode(text)).toEqual(tokens);
      expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(tokens);
      expect(tokenizer.decode(tokens)).toBe(bytesBack);
      const stream = tokenizer.createStreamDecoder({ skipSpecialTokens: false });
      const pieces = tokens.map((id) => stream.push(id));
      expect(pieces.join("") + stream.end()).toBe(bytesBack);
      for (const piece of pieces) if (!bytesBack.includes("\ufffd")) expect(piece).not.toContain("\ufffd");
    },
  );

  it("renders chats as the reference does", () => {
    expect(cases.chatTemplate.length).toBe(4);
    for (const { messages, addGenerationPrompt, text } of cases.chatTemplate)
      expect(tokenizer.renderChat(messages, { addGenerationPrompt })).toBe(text);
  });

  it("leaves special tokens out when asked", () => {
    expect(tokenizer.decode([81, 2, 82], { skipSpecialTokens: true })).toBe("ab");
    const stream = tokenizer.createStreamDecoder();
    expect([81, 2, 82].map((id) => stream.push(id)).join("")).toBe("ab");
  });

  it("gives the same bytes for a long text, quickly", () => {
    const path = `${shared}fixtures/text/python-reference-calibration.txt`;
    const text = readFileSync(path, "utf8");
    const started = performance.now();
    const tokens = tokenizer.encode(text);
    const elapsedMs = performance.now() - started;
    expect(tokenizer.decode(tokens)).toBe(text);
    // Under a second on a quiet core; a shared machine may be far slower, a quadratic fault slower still.
    expect(elapsedMs).toBeLessThan(20_000);
  });

  it("ignores ids that are no tokens", () => {
    expect(tokenizer.decode([81, 60000, -1, 82])).toBe("ab");
  });

  it("replaces a character that never ends, at the end only", () => {
    const [first] = tokenizer.encode("🚀");
    const stream = tokenizer.createStreamDecoder();
    expect(stream.push(first as number)).toBe("");
    expect(stream.end()).toBe("\ufffd");
    expect(stream.push(81)).toBe("a");
  });
});

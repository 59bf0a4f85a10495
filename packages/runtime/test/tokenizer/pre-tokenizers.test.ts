import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { mendPreTokenizer } from "../../src/tokenizer/mend-json.js";

interface Recorded {
  texts: string[];
  rules: { name: string; config: Record<string, unknown>; pieces: string[][] }[];
}

/** What the library that tokenizer.json is written for makes of these components. */
const recorded = JSON.parse(
  readFileSync(new URL("./pre-tokenizers.json", import.meta.url), "utf8"),
) as Recorded;

function cut(config: Record<string, unknown>, text: string): string[] {
  const json = {
    normalizer: null,
    pre_tokenizer: mendPreTokenizer(config),
    model: { type: "BPE", vocab: {}, merges: [] },
    post_processor: null,
    decoder: null,
    added_tokens: [],
  };
  const library = new Tokenizer(json, {}) as unknown as {
    pre_tokenizer: (text: string, options: object) => string[];
  };
  return library.pre_tokenizer(text, { section_index: 0 });
}

describe.each(recorded.rules)("pre-tokenizer $name", ({ config, pieces }) => {
  it.each(recorded.texts.map((text, index) => [JSON.stringify(text), text, index] as const))(
    "%s",
    (_, text, index) => {
      expect(cut(config, text)).toEqual(pieces[index]);
    },
  );
});

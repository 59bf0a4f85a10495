import { readFileSync } from "node:fs";
import { FlashlmError } from "@flashlm/contracts";
import type { TextTokenizer } from "@flashlm/runtime";
import { parseTokens } from "./tokens-option.js";

/** A text, or tokens in its place: exactly one of the two. */
export interface TextFlags {
  readonly text?: string;
  readonly tokens?: string;
}

/** Tokens of `--text FILE` or `--tokens IDS`. @throws ENGINE_OPTION for both, none or what cannot be read, TOKENIZER_UNSUPPORTED for a text without a tokenizer. */
export function readTextTokens(
  { text, tokens }: TextFlags,
  tokenizer: TextTokenizer | null,
): readonly number[] {
  if ((text === undefined) === (tokens === undefined))
    throw new FlashlmError("ENGINE_OPTION", "Expected --text or --tokens, one of the two.");
  if (tokens !== undefined) return parseTokens(tokens);
  if (tokenizer) return tokenizer.encode(readText(text!), { addSpecialTokens: false });
  throw new FlashlmError(
    "TOKENIZER_UNSUPPORTED",
    "Expected a tokenizer in the bundle but there is none: give --tokens instead of --text.",
  );
}

/** A text file. @throws ENGINE_OPTION when it cannot be read. */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FlashlmError(
      "ENGINE_OPTION",
      `Expected --text to name a readable file but ${path} cannot be read. Check the path.`,
      { path },
      error,
    );
  }
}

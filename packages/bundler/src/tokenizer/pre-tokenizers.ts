import { FlashlmError } from "@flashlm/contracts";
import type { ComponentJson } from "./tokenizer-json.js";

/** How a byte-level BPE tokenizer cuts text before merging, by its GGUF name. */
export interface PreTokenizerRule {
  /** Applied one after the other; matches and the text between them become pieces. */
  readonly patterns: readonly string[];
  /** A piece that is a token as a whole is not built from merges. */
  readonly ignoreMerges: boolean;
  /** BOS is added where the file does not say. */
  readonly addBos: boolean;
}

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const WORDS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const SYMBOLS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
const LLAMA3 = `${CONTRACTIONS}|${WORDS}|\\p{N}{1,3}|${SYMBOLS}|${SPACES}`;
const QWEN2 = `${CONTRACTIONS}|${WORDS}|\\p{N}|${SYMBOLS}|${SPACES}`;
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const BEFORE_WORD = "[^\\r\\n\\p{L}\\p{N}]?";
const SYMBOLS_SLASH = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*";
const TEKKEN = `${BEFORE_WORD}${UPPER}*${LOWER}+|${BEFORE_WORD}${UPPER}+${LOWER}*|\\p{N}|${SYMBOLS_SLASH}|${SPACES}`;
const GPT4O =
  `${BEFORE_WORD}${UPPER}*${LOWER}+${CONTRACTIONS}?|${BEFORE_WORD}${UPPER}+${LOWER}*${CONTRACTIONS}?` +
  `|\\p{N}{1,3}|${SYMBOLS_SLASH}|${SPACES}`;
const BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+";
const FALCON_PUNCTUATION = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
const DEFAULT_PUNCTUATION = "[\\p{P}\\$\\+<=>\\^~\\|]+";
const THREE_DIGITS = "[0-9][0-9][0-9]";
const DEEPSEEK3_WORDS =
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" +
  `| ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`;

function rule(patterns: readonly string[], flags: Partial<PreTokenizerRule> = {}): PreTokenizerRule {
  return { patterns, ignoreMerges: false, addBos: false, ...flags };
}

const DEFAULT_RULE = rule([DEFAULT_PUNCTUATION, GPT2, "\\p{N}+", THREE_DIGITS]);
const GPT2_RULE = rule([GPT2]);
const DIGITS_RULE = rule(["\\p{N}", GPT2]);
const LLAMA3_RULE = rule([LLAMA3], { ignoreMerges: true, addBos: true });
const LLAMA3_PLAIN_RULE = rule([LLAMA3]);
const QWEN2_RULE = rule([QWEN2]);
const GPT4O_RULE = rule([GPT4O]);
const DEEPSEEK3_RULE = rule(["\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3_WORDS]);
const BLOOM_RULE = rule([BLOOM]);

const RULES: ReadonlyMap<string, PreTokenizerRule> = new Map([
  ["default", DEFAULT_RULE],
  ...["gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"].map(
    (name) => [name, GPT2_RULE] as const,
  ),
  ...["gigachat", "a.x-4.0", "mellum", "modern-bert", "exaone4"].map((name) => [name, GPT2_RULE] as const),
  ...["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"].map(
    (name) => [name, DIGITS_RULE] as const,
  ),
  ...["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"].map(
    (name) => [name, LLAMA3_RULE] as const,
  ),
  ...["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"].map((name) => [name, LLAMA3_PLAIN_RULE] as const),
  ...["qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "megrez"].map((name) => [name, QWEN2_RULE] as const),
  ...["gpt-4o", "llama4"].map((name) => [name, GPT4O_RULE] as const),
  ...["deepseek-v3", "hunyuan-dense"].map((name) => [name, DEEPSEEK3_RULE] as const),
  ["deepseek-coder", rule(["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"])],
  ["tekken", rule([TEKKEN], { ignoreMerges: true, addBos: true })],
  ["falcon", rule([FALCON_PUNCTUATION, GPT2, THREE_DIGITS])],
  ...["bloom", "poro-chat", "gpt3-finnish"].map((name) => [name, BLOOM_RULE] as const),
  ["viking", rule([BLOOM, "\\p{N}"])],
]);

/** Names of pre-tokenizers that can be converted, sorted. */
export function knownPreTokenizers(): readonly string[] {
  return [...RULES.keys()].sort();
}

/**
 * Finds the rule of `tokenizer.ggml.pre`. A wrong guess would cut text differently and quietly change every
 * answer, so unknown names are refused.
 * @throws TOKENIZER_UNSUPPORTED.
 */
export function findPreTokenizer(name: string): PreTokenizerRule {
  const found = RULES.get(name);
  if (found !== undefined) return found;
  const shown = name.length > 80 ? `${name.slice(0, 80)}...` : name;
  throw new FlashlmError(
    "TOKENIZER_UNSUPPORTED",
    `tokenizer: expected a known pre-tokenizer in tokenizer.ggml.pre, found "${shown}"; ` +
      "convert from the Hugging Face folder of this model instead, which carries its own tokenizer.json",
    { name: shown, known: knownPreTokenizers() },
  );
}

/** The pre-tokenizer component of a byte-level tokenizer: cut by the patterns, then map bytes to letters. */
export function byteLevelPreTokenizer(patterns: readonly string[]): ComponentJson {
  return {
    type: "Sequence",
    pretokenizers: [
      ...patterns.map((pattern) => ({
        type: "Split",
        pattern: { Regex: pattern },
        behavior: "Isolated",
        invert: false,
      })),
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
}

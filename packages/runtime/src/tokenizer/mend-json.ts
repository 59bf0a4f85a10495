/**
 * tokenizer.json is written for a library in another language. Where the one used here does something else with the same
 * words, the words are replaced before it sees them: Unicode digits and spaces, split behaviours it ignores, punctuation.
 */

/** A JSON object of tokenizer.json. */
export type JsonObject = Record<string, unknown>;

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const PUNCTUATION = "[\\p{P}!-/:-@\\[-`{-~]";
const ANY = "(?:.|\\n)";
const SPACE = "\u2581";

/** True for a JSON object, not an array or null. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function split(pattern: string, invert = false): JsonObject {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert };
}

function patternOf(component: JsonObject): string | null {
  const pattern = component.pattern;
  if (!isObject(pattern)) return null;
  if (typeof pattern.Regex === "string") return pattern.Regex;
  if (typeof pattern.String === "string") return pattern.String.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  return null;
}

/** Behaviours become patterns that match whole pieces; `invert` then means "take the matches". */
function mendSplit(component: JsonObject): JsonObject {
  const pattern = patternOf(component);
  if (pattern === null || component.invert === true) return component;
  const others = `(?:(?!${pattern})${ANY})`;
  switch (component.behavior) {
    case "MergedWithPrevious":
      return split(`${others}*(?:${pattern})|${others}+`, true);
    case "MergedWithNext":
      return split(`(?:${pattern})${others}*|${others}+`, true);
    case "Removed":
      return split(`${others}+`, true);
    case "Contiguous":
      return split(`(?:${pattern})+|${others}+`, true);
    default:
      return component;
  }
}

/** Rewrites one pre-tokenizer component, its parts included. */
export function mendPreTokenizer(component: JsonObject): JsonObject {
  switch (component.type) {
    case "Sequence": {
      const parts = component.pretokenizers;
      return {
        ...component,
        pretokenizers: Array.isArray(parts) ? parts.filter(isObject).map(mendPreTokenizer) : [],
      };
    }
    case "Digits":
      return split(component.individual_digits === true ? "\\p{N}" : "\\p{N}+");
    case "Punctuation":
      return split(component.behavior === "Contiguous" ? `${PUNCTUATION}+` : PUNCTUATION);
    case "ByteLevel":
      if (component.add_prefix_space === true || component.use_regex === false) return component;
      return { type: "Sequence", pretokenizers: [split(GPT2), { ...component, use_regex: false }] };
    case "Metaspace":
      if (component.split === false) return component;
      return {
        type: "Sequence",
        pretokenizers: [
          { ...component, split: false },
          mendSplit({ pattern: { String: component.replacement ?? SPACE }, behavior: "MergedWithNext" }),
        ],
      };
    case "Split":
      return mendSplit(component);
    default:
      return component;
  }
}

function pieces(model: JsonObject): Iterable<string> {
  const vocabulary = model.vocab;
  if (Array.isArray(vocabulary))
    return vocabulary.map((entry) => (Array.isArray(entry) ? String(entry[0]) : ""));
  return isObject(vocabulary) ? Object.keys(vocabulary) : [];
}

function someSpaceAfterText(model: JsonObject): boolean {
  for (const piece of pieces(model)) {
    const at = piece.lastIndexOf(SPACE);
    if (at > 0 && piece.charAt(at - 1) !== SPACE) return true;
    if (at > 0 && /[^\u2581]\u2581/.test(piece)) return true;
  }
  return false;
}

/**
 * A SentencePiece tokenizer takes a whole text as one word, which costs memory and time. No piece has a space after
 * other text in nearly every vocabulary, and then cutting before spaces changes nothing.
 */
export function cutAtSpaces(model: JsonObject, preTokenizer: JsonObject | null): JsonObject | null {
  const whole = preTokenizer === null || preTokenizer.type === "Metaspace";
  const bySpaces = model.type === "Unigram" || model.byte_fallback === true;
  if (!whole || !bySpaces || someSpaceAfterText(model)) return preTokenizer;
  const cut = split(`${SPACE}+[^${SPACE}]*|[^${SPACE}]+`);
  return { type: "Sequence", pretokenizers: preTokenizer === null ? [cut] : [preTokenizer, cut] };
}

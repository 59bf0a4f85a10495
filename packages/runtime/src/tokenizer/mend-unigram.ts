/** The parts of the library's unigram model that are used here. */
export interface UnigramModel {
  tokenize(text: string): string[];
  encode(texts: readonly string[]): string[];
  readonly tokens_to_ids: ReadonlyMap<string, number>;
}

/**
 * The library's unigram model knows no byte fallback, and passes a text's tokens as arguments of one call, which ends
 * the process's stack for long texts. Replaces its `encode` with one that has neither fault.
 */
export function addByteFallback(model: UnigramModel, byteFallback: boolean): void {
  const encoder = new TextEncoder();
  const known = model.tokens_to_ids;
  const spell = (piece: string): string[] => {
    const bytes = Array.from(
      encoder.encode(piece),
      (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
    );
    return bytes.every((name) => known.has(name)) ? bytes : [piece];
  };
  model.encode = (texts) => {
    const tokens: string[] = [];
    for (const text of texts) {
      for (const piece of model.tokenize(text)) {
        if (!byteFallback || known.has(piece)) tokens.push(piece);
        else for (const name of spell(piece)) tokens.push(name);
      }
    }
    return tokens;
  };
}

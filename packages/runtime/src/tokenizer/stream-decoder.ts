/** Turns tokens into text as they come. */
export interface StreamDecoder {
  /** Text that is complete with this token; an unfinished character is held back. */
  push(id: number): string;
  /** What is left: U+FFFD for a character that never ended. The decoder may be used for a new text afterwards. */
  end(): string;
}

const NOTHING: Uint8Array = new Uint8Array(0);
/** A character has at most four bytes, so more tokens than this without valid text are really broken text. */
const HELD_TOKENS_MAX = 8;

/** Decodes by bytes: exact for every token sequence. `bytesOf` gives a token's bytes, null for tokens to leave out. */
export function createByteStreamDecoder(bytesOf: (id: number) => Uint8Array | null): StreamDecoder {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (id) => utf8.decode(bytesOf(id) ?? NOTHING, { stream: true }),
    end: () => utf8.decode(),
  };
}

/** Decodes with a function for whole sequences: the text of the tokens before is cut off the text with the new one. */
export function createSuffixStreamDecoder(decode: (ids: readonly number[]) => string): StreamDecoder {
  let before: number[] = [];
  let held: number[] = [];
  const flush = (force: boolean): string => {
    if (held.length === 0) return "";
    const text = decode([...before, ...held]);
    if (!force && text.endsWith("\ufffd") && held.length < HELD_TOKENS_MAX) return "";
    const fresh = text.slice(before.length === 0 ? 0 : decode(before).length);
    before = held;
    held = [];
    return fresh;
  };
  return {
    push(id: number): string {
      held.push(id);
      return flush(false);
    },
    end(): string {
      const rest = flush(true);
      before = [];
      return rest;
    },
  };
}

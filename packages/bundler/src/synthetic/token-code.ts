import { combineSeeds, RandomGenerator } from "./random.js";

/**
 * What a token "means": digits in base `base`, one per rate. A text changes slow digits seldom and fast ones at nearly every token, so that
 * neighbouring tokens have much in common, as in text, and the embedding adds one direction per digit value.
 */
export interface TokenCode {
  readonly base: number;
  /** First id that a text uses; the ids before it are bytes and special tokens. */
  readonly firstId: number;
  /** Per digit, its share of an embedding's variance; what is missing to 1 is noise of each token's own. */
  readonly shares: readonly number[];
  /** Per digit, the probability that it changes from one token to the next. */
  readonly changeRates: readonly number[];
  /** Ids that end a text or pad it, never drawn. */
  readonly specialIds: readonly number[];
}

/** Bytes and a few special tokens stand before the ordinary ids of every vocabulary. */
export const ORDINARY_ID_MIN = 260;
/** More values of a digit than this would make more directions than a predictor of rank 128 can hold. */
const BASE_MAX = 36;

/** The code of a vocabulary: the largest base whose combinations all have an id. */
export function tokenCode(
  vocabularySize: number,
  digits: { readonly shares: readonly number[]; readonly changeRates: readonly number[] },
  specialIds: readonly number[],
): TokenCode {
  const digitCount = digits.shares.length;
  const room = vocabularySize - ORDINARY_ID_MIN;
  const base = Math.min(BASE_MAX, Math.floor(room ** (1 / digitCount) + 1e-9));
  return { base, firstId: ORDINARY_ID_MIN, ...digits, specialIds };
}

/** The digits of any id; ids beyond the combinations, and those before the first one, share the code of another id. */
export function digitsOf(code: TokenCode, tokenId: number): number[] {
  const combinations = code.base ** code.shares.length;
  let rest = (((tokenId - code.firstId) % combinations) + combinations) % combinations;
  return code.shares.map(() => {
    const digit = rest % code.base;
    rest = Math.floor(rest / code.base);
    return digit;
  });
}

function idOf(code: TokenCode, digits: readonly number[]): number {
  return code.firstId + digits.reduceRight((id, digit) => id * code.base + digit, 0);
}

/** A text of `tokenCount` tokens whose digits change at their rates. */
export function syntheticText(code: TokenCode, seed: number, tokenCount: number): Uint32Array {
  const random = new RandomGenerator(combineSeeds(seed, 0x7e87));
  const digits = code.shares.map(() => random.below(code.base));
  const special = new Set(code.specialIds);
  const tokens = new Uint32Array(tokenCount);
  for (let index = 0; index < tokenCount; ) {
    for (const [digit, rate] of code.changeRates.entries())
      if (random.unit() < rate) digits[digit] = random.below(code.base);
    const tokenId = idOf(code, digits);
    if (!special.has(tokenId)) tokens[index++] = tokenId;
  }
  return tokens;
}

/** Distributions that a verification compares. Allocated once. */
export interface Distributions {
  /** Of the draft, by drafted token, f32 `[draftTokens][vocabularySize]`. */
  readonly drafted: readonly Float32Array[];
  /** Of the target, for the token that is looked at, f64 `[vocabularySize]`. */
  readonly target: Float64Array;
}

/** Bytes of {@link createDistributions}; none without drafted tokens. */
export function speculationBytes(vocabularySize: number, draftTokens: number): number {
  return draftTokens === 0 ? 0 : vocabularySize * (draftTokens * 4 + 8);
}

/** Allocates distributions for up to `draftTokens` drafted tokens. */
export function createDistributions(vocabularySize: number, draftTokens: number): Distributions {
  return {
    drafted: Array.from({ length: draftTokens }, () => new Float32Array(vocabularySize)),
    target: new Float64Array(vocabularySize),
  };
}

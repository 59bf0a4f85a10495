/** The same 32-bit numbers for the same seed (xorshift; Marsaglia 2003). */
export function pseudoRandom(seed: number): () => number {
  let state = (Math.imul(seed + 1, 2654435761) | 1) >>> 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

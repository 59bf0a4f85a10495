/** Steps per doubling: neighbouring codes differ by 9 %, so a contribution is kept to within 4.5 %. */
const STEPS_PER_DOUBLING = 8;
/** Exponent of the smallest code but zero: 2^-16 of a hidden unit is far below what changes an answer. */
const EXPONENT_MIN = -16;

/** Contribution of each code, `[256]`: 0, then powers of two from 2^-16 to 2^15.75 in eighths. */
export const CONTRIBUTION_OF_CODE: Float32Array = Float32Array.from({ length: 256 }, (_, code) =>
  code === 0 ? 0 : 2 ** ((code - 1) / STEPS_PER_DOUBLING + EXPONENT_MIN),
);

/** One byte for a contribution `abs(h) * norm(down)`: 0 for none, otherwise its logarithm, clamped to 1 .. 255. NaN counts as the largest. */
export function codeOfContribution(contribution: number): number {
  if (contribution === 0) return 0;
  const step = Math.round((Math.log2(contribution) - EXPONENT_MIN) * STEPS_PER_DOUBLING) + 1;
  if (step < 1) return 1;
  if (!(step < 255)) return 255;
  return step;
}

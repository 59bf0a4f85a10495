/** Half a unit in the last place of f32, relative: the error of one rounding. */
const ROUNDING: number = 2 ** -24;

/**
 * How far a kernel target may be from a float64 oracle. All bounds are absolute and grow with what was added up, never
 * with the result, which may cancel to nothing.
 */
export const TOLERANCE: {
  readonly sum: (termCount: number, absoluteSum: number) => number;
  readonly value: (magnitude: number) => number;
  readonly softmax: (termCount: number, magnitude: number) => number;
  readonly share: (logitRange: number, share: number) => number;
  readonly blocks: (blockCount: number, absoluteSum: number) => number;
} = {
  /** A dot or a running sum in f32: one rounding per product and one per addition, at worst all the same way. */
  sum: (termCount, absoluteSum) => (termCount + 8) * ROUNDING * absoluteSum + 1e-30,
  /** A few operations and one function of 1 to 2 units in the last place. */
  value: (magnitude) => 8 * ROUNDING * magnitude + 1e-30,
  /**
   * A softmax-weighted mean: scores differ by their own sum's error, which exp turns into a relative error; scores of
   * the suite stay below 16, hence the factor. `magnitude` is the largest absolute value that is averaged.
   */
  softmax: (termCount, magnitude) => (termCount + 64) * 16 * ROUNDING * magnitude,
  /**
   * One share of a softmax over logits that differ by at most `logitRange`: the rounding of their quotient becomes a
   * relative error, then exp and a division. Shares below e^-80 may be 0.
   */
  share: (logitRange, share) => (2 * logitRange + 16) * ROUNDING * share + 2e-35,
  /**
   * A dot of int8 blocks: the integers are exact; what is rounded is a few products and one addition per block.
   * `absoluteSum` adds up the source's absolute values, each times twice the largest weight of its block, which also
   * bounds the parts that a minimum splits off.
   */
  blocks: (blockCount, absoluteSum) => (5 * blockCount + 8) * ROUNDING * absoluteSum + 1e-30,
};

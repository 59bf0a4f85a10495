import { HALF_VALUES, halfBits } from "./half.js";

/** Levels of a 4-bit block: -8 to 7 around zero. */
const LEVEL_LEAST = -8;
const LEVEL_MOST = 7;
/** The extreme weight of a block is tried at these levels; the best of them is refined by least squares. */
const EXTREME_LEVELS: readonly number[] = [6.2, 6.6, 7, 7.4, 7.8, 8.3, 8.9, 9.6];
/** The largest finite binary16. */
const HALF_MOST = 65504;
/** Rounds to the nearest integer by the way binary64 is stored; for numbers far smaller than 2^51. */
const ROUNDER = 1.5 * 2 ** 52;

/** The nearest level of `value / scale`. */
export function levelOf(value: number, inverseScale: number): number {
  const level = value * inverseScale + ROUNDER - ROUNDER;
  return Math.max(LEVEL_LEAST, Math.min(LEVEL_MOST, level));
}

/**
 * The scale of a block of 32 with the least squared error, each weight counted by `importance`. Levels reach one step
 * further below zero than above, so both signs of the scale are tried.
 * @param values - 32 weights. Borrowed.
 * @param importance - 32 factors above zero. Borrowed.
 * @returns A binary16 number; 0 where all weights are 0.
 */
export function searchScale(values: Float64Array, importance: Float64Array): number {
  let extreme = 0;
  for (let j = 0; j < 32; j++) if (Math.abs(values[j]!) > Math.abs(extreme)) extreme = values[j]!;
  if (extreme === 0) return 0;
  let bestGain = 0;
  let best = 0;
  for (const level of EXTREME_LEVELS) {
    for (let sign = -1; sign <= 1; sign += 2) {
      const inverse = (sign * level) / extreme;
      let cross = 0;
      let square = 0;
      for (let j = 0; j < 32; j++) {
        const n = levelOf(values[j]!, inverse);
        const weighted = importance[j]! * n;
        cross += weighted * values[j]!;
        square += weighted * n;
      }
      // With the scale cross / square, the squared error is lower by cross^2 / square than without any levels.
      const gain = square === 0 ? 0 : (cross * cross) / square;
      if (gain > bestGain) {
        bestGain = gain;
        best = cross / square;
      }
    }
  }
  return HALF_VALUES[halfBits(Math.max(-HALF_MOST, Math.min(HALF_MOST, best)))]!;
}

/** What becomes of guesses over a run. Shares from 0 to 1. */
export interface LookAheadShares {
  /** Of the records that are not in slots, those that were read early. */
  readonly guessedShare: number;
  /** Of the records that were read early, those that were wanted; above 0. */
  readonly usedShare: number;
}

/**
 * For heads that no run has measured: halfway between the half at which a layer's guesses are stopped (`LookAhead`) and all, both for what is
 * found and for what is of use.
 */
export const LOOK_AHEAD_USUAL: LookAheadShares = { guessedShare: 0.75, usedShare: 0.75 };

/** For predictors whose guess is what is computed. */
export const LOOK_AHEAD_EXACT: LookAheadShares = { guessedShare: 1, usedShare: 1 };

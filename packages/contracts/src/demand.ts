/** Windows that {@link LayerDemand.freshShareByWindow} has figures for: 1 to this many tokens. */
export const DEMAND_WINDOW_MAX = 64;
/** {@link LayerDemand.coverageByShare} has one figure more than this. */
export const DEMAND_COVERAGE_STEPS = 32;

/** What the tokens of a text ask of one layer; measured, for forecasts of hit rates. */
export interface LayerDemand {
  readonly neuronCount: number;
  /** Mean over tokens of the neurons that one token names. */
  readonly namedPerToken: number;
  /**
   * `[DEMAND_WINDOW_MAX]`; element k-1 is the share of a token's neurons that none of the k tokens before it named. 1 minus it is the window
   * overlap.
   */
  readonly freshShareByWindow: readonly number[];
  /**
   * `[DEMAND_WINDOW_MAX]`; element k-1 is the standard deviation, over tokens, of how many neurons are fresh after k tokens, as a share of
   * their mean. Absent where it was not measured.
   */
  readonly freshSpreadByWindow?: readonly number[];
  /** `[DEMAND_COVERAGE_STEPS + 1]`; element i is the share of named neurons that are among the first `i / DEMAND_COVERAGE_STEPS` of the layer's records. */
  readonly coverageByShare: readonly number[];
}

/** Demand of every layer. */
export interface ModelDemand {
  /** Predictor that named the neurons. */
  readonly sparsity: string;
  readonly tokenCount: number;
  readonly layers: readonly LayerDemand[];
}

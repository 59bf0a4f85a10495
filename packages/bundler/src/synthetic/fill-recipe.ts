import type { TokenCode } from "./token-code.js";

/** How a tensor's values come about. Plain data: it crosses to the filling threads. Rows are row-major, as stored. */
export type FillRecipe =
  /** Independent normal values; `column` holds given values instead, `zeroRow` zeros. */
  | {
      readonly kind: "normal";
      readonly deviation: number;
      readonly column?: { readonly index: number; readonly values: Float32Array };
      readonly zeroRow?: number;
    }
  /** The same value everywhere. */
  | { readonly kind: "constant"; readonly value: number }
  /** Given values, for vectors. */
  | { readonly kind: "values"; readonly values: Float32Array }
  | EmbeddingRecipe;

/** One row per token: its code's directions and noise of its own. */
export interface EmbeddingRecipe {
  readonly kind: "embedding";
  readonly code: TokenCode;
  readonly deviation: number;
  readonly lane: Lane | null;
}

/** A hidden unit that has the same value for every token, from which models without FFN biases take their thresholds. */
export interface Lane {
  readonly index: number;
  readonly value: number;
}

/** A tensor of a checkpoint and what it is filled with. */
export interface SyntheticTensor {
  /** The name in the checkpoint's own format. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly recipe: FillRecipe;
}

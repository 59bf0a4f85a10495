import type { ModelConfig, RopeScaling } from "@flashlm/contracts";

type Rope = Pick<ModelConfig["rope"], "theta" | "rotaryDim" | "scaling" | "contextFactors">;

/** Inverse frequency of each rotary pair without scaling, `[rotaryDim / 2]`; rounded to f32 where the reference implementation rounds. */
function plainFrequencies(theta: number, rotaryDim: number): Float64Array {
  return Float64Array.from({ length: rotaryDim / 2 }, (_, pair) =>
    Math.fround(1 / Math.fround(theta ** Math.fround((2 * pair) / rotaryDim))),
  );
}

/** Wave lengths longer than the original context are stretched, short ones kept, those between blended (Llama 3). */
function stretchLong(frequency: number, scaling: RopeScaling & { kind: "llama3" }): number {
  const turns = (scaling.originalContextLength * frequency) / (2 * Math.PI);
  const blend =
    (turns - scaling.lowFrequencyFactor) / (scaling.highFrequencyFactor - scaling.lowFrequencyFactor);
  const share = Math.min(1, Math.max(0, blend));
  return (1 - share) * (frequency / scaling.factor) + share * frequency;
}

/** Share of the stretched frequency by pair: none for fast pairs, all for slow ones, a ramp between (YaRN, arXiv 2309.00071). */
function yarnRamp(rope: Rope, scaling: RopeScaling & { kind: "yarn" }): (pair: number) => number {
  const pairAtTurns = (turns: number): number =>
    (rope.rotaryDim * Math.log(scaling.originalContextLength / (turns * 2 * Math.PI))) /
    (2 * Math.log(rope.theta));
  const [fast, slow] = [pairAtTurns(scaling.betaFast), pairAtTurns(scaling.betaSlow)];
  const isWhole = scaling.truncate ?? true;
  const low = Math.max(0, isWhole ? Math.floor(fast) : fast);
  const high = Math.min(rope.rotaryDim - 1, isWhole ? Math.ceil(slow) : slow);
  const span = low === high ? 0.001 : high - low;
  return (pair) => Math.min(1, Math.max(0, (pair - low) / span));
}

/** Inverse frequencies for a sequence of at most `tokenCount`, and the factor on cosines and sines. */
function scaledFrequencies(rope: Rope, tokenCount: number): { frequencies: Float64Array; magnitude: number } {
  const { scaling, rotaryDim } = rope;
  const plain = plainFrequencies(rope.theta, rotaryDim);
  switch (scaling.kind) {
    case "none":
      return { frequencies: plain, magnitude: 1 };
    case "linear":
      return { frequencies: plain.map((value) => value / scaling.factor), magnitude: 1 };
    case "llama3":
      return { frequencies: plain.map((value) => stretchLong(value, scaling)), magnitude: 1 };
    case "yarn": {
      const ramp = yarnRamp(rope, scaling);
      return {
        frequencies: plain.map((value, pair) => {
          const share = ramp(pair);
          return (value / scaling.factor) * share + value * (1 - share);
        }),
        magnitude: scaling.attentionFactor,
      };
    }
    case "dynamic": {
      const length = Math.max(tokenCount, scaling.originalContextLength);
      const stretch = (scaling.factor * length) / scaling.originalContextLength - (scaling.factor - 1);
      const theta = rope.theta * stretch ** (rotaryDim / (rotaryDim - 2));
      return { frequencies: plainFrequencies(theta, rotaryDim), magnitude: 1 };
    }
    case "longrope": {
      const isLong = tokenCount > scaling.originalContextLength;
      const factors = isLong ? scaling.longFactors : scaling.shortFactors;
      return {
        frequencies: plain.map((value, pair) => value / factors[pair]!),
        magnitude: scaling.attentionFactor,
      };
    }
  }
}

/** The table that the `rope` op reads: per position its cosines, then its sines. */
export class RopeTable {
  readonly #rope: Rope;
  readonly #table: Float32Array;
  #fitted: Float64Array | null = null;

  /** @param table - Float32Array `[contextLength, rotaryDim]`, borrowed for good; written by {@link fit}. */
  constructor(rope: Rope, table: Float32Array) {
    this.#rope = rope;
    this.#table = table;
  }

  /** Fills the table for a sequence of at most `tokenCount` tokens, unless it already holds what that needs. */
  fit(tokenCount: number): void {
    const { contextFactors, rotaryDim } = this.#rope;
    const { frequencies, magnitude } = scaledFrequencies(this.#rope, tokenCount);
    if (contextFactors)
      for (let pair = 0; pair < frequencies.length; pair++) frequencies[pair]! /= contextFactors[pair] ?? 1;
    if (this.#fitted?.every((value, pair) => value === frequencies[pair])) return;
    this.#fitted = frequencies;
    const table = this.#table;
    const pairCount = frequencies.length;
    for (let row = 0, position = 0; row < table.length; row += rotaryDim, position++) {
      for (let pair = 0; pair < pairCount; pair++) {
        // The angle is rounded to f32 as the reference implementation does, so that long contexts agree with it.
        const angle = Math.fround(position * Math.fround(frequencies[pair]!));
        table[row + pair] = Math.cos(angle) * magnitude;
        table[row + pairCount + pair] = Math.sin(angle) * magnitude;
      }
    }
  }
}

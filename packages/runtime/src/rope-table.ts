import type { ModelConfig } from "@flashlm/contracts";

/** Inverse frequency of each rotary pair, `[rotaryDim / 2]`, after scaling; with the factor on cosines and sines (yarn). */
function inverseFrequencies(rope: ModelConfig["rope"]): { frequencies: Float64Array; magnitude: number } {
  const pairCount = rope.rotaryDim / 2;
  const { scaling } = rope;
  const frequencies = Float64Array.from(
    { length: pairCount },
    (_, pair) => rope.theta ** ((-2 * pair) / rope.rotaryDim),
  );
  let magnitude = 1;
  if (scaling.kind === "linear")
    frequencies.forEach((value, pair) => {
      frequencies[pair] = value / scaling.factor;
    });
  if (scaling.kind === "llama3") {
    // Wave lengths longer than the original context are stretched, short ones kept, those between blended.
    frequencies.forEach((value, pair) => {
      const turns = (scaling.originalContextLength * value) / (2 * Math.PI);
      const blend =
        (turns - scaling.lowFrequencyFactor) / (scaling.highFrequencyFactor - scaling.lowFrequencyFactor);
      const share = Math.min(1, Math.max(0, blend));
      frequencies[pair] = (1 - share) * (value / scaling.factor) + share * value;
    });
  }
  if (scaling.kind === "yarn") {
    magnitude = scaling.attentionFactor;
    const pairAtTurns = (turns: number): number =>
      (rope.rotaryDim * Math.log(scaling.originalContextLength / (turns * 2 * Math.PI))) /
      (2 * Math.log(rope.theta));
    const low = Math.max(0, Math.floor(pairAtTurns(scaling.betaFast)));
    const high = Math.min(rope.rotaryDim - 1, Math.ceil(pairAtTurns(scaling.betaSlow)));
    frequencies.forEach((value, pair) => {
      const ramp = Math.min(1, Math.max(0, (pair - low) / Math.max(high - low, 0.001)));
      frequencies[pair] = (value / scaling.factor) * ramp + value * (1 - ramp);
    });
  }
  if (rope.contextFactors)
    frequencies.forEach((value, pair) => {
      frequencies[pair] = value / (rope.contextFactors?.[pair] ?? 1);
    });
  return { frequencies, magnitude };
}

/**
 * Fills the table that the `rope` op reads.
 *
 * @param table - Float32Array `[contextLength, rotaryDim]`: cosines of a position, then its sines. Written.
 */
export function fillRopeTable(rope: ModelConfig["rope"], contextLength: number, table: Float32Array): void {
  const { frequencies, magnitude } = inverseFrequencies(rope);
  const pairCount = frequencies.length;
  for (let position = 0; position < contextLength; position++) {
    const row = position * rope.rotaryDim;
    for (let pair = 0; pair < pairCount; pair++) {
      // The angle is rounded to f32 as the reference implementation does, so that long contexts agree with it.
      const angle = Math.fround(position * Math.fround(frequencies[pair] ?? 0));
      table[row + pair] = Math.cos(angle) * magnitude;
      table[row + pairCount + pair] = Math.sin(angle) * magnitude;
    }
  }
}

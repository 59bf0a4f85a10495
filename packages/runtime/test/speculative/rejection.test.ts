import { describe, expect, it } from "vitest";
import { createRandomSource } from "../../src/sampling/index.js";
import { acceptOrReplace, drawToken } from "../../src/speculative/rejection.js";

const DRAWS = 100_000;
/** Chi-square with 5 degrees of freedom exceeds this with a probability of 1e-4. */
const CHI_SQUARE_MAX = 25.74;

function chiSquare(counts: readonly number[], probabilities: readonly number[]): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return probabilities.reduce((sum, probability, id) => {
    if (probability === 0) {
      expect(counts[id], "a token of probability 0 is never drawn").toBe(0);
      return sum;
    }
    return sum + (counts[id]! - total * probability) ** 2 / (total * probability);
  }, 0);
}

const TARGET = [0.3, 0.25, 0, 0.2, 0.15, 0.1];

describe("the rejection rule", () => {
  const drafts: Record<string, number[]> = {
    equal: TARGET,
    uniform: new Array<number>(6).fill(1 / 6),
    "the other way round": [...TARGET].reverse(),
    "certain of one token": [0, 0, 0, 0, 1, 0],
    "certain of one that the target never gives": [0, 0, 1, 0, 0, 0],
    "never the likeliest": [0, 0.5, 0.1, 0.2, 0.1, 0.1],
  };
  for (const [name, draft] of Object.entries(drafts)) {
    it(`gives the target's distribution when the draft is ${name}`, () => {
      const random = createRandomSource(7);
      const counts = new Array<number>(6).fill(0);
      let acceptedCount = 0;
      for (let draw = 0; draw < DRAWS; draw++) {
        const drafted = Float32Array.from(draft);
        const proposed = drawToken(drafted, random);
        const { token, accepted } = acceptOrReplace(proposed, drafted, Float64Array.from(TARGET), random);
        if (accepted && token !== proposed) throw new Error("an accepted token stays what it is");
        acceptedCount += accepted ? 1 : 0;
        counts[token]!++;
      }
      expect(chiSquare(counts, TARGET)).toBeLessThan(CHI_SQUARE_MAX);
      // Accepted as often as the distributions overlap (Leviathan et al., corollary 3.6).
      const overlap = TARGET.reduce((sum, p, id) => sum + Math.min(p, draft[id]!), 0);
      expect(Math.abs(acceptedCount / DRAWS - overlap)).toBeLessThan(0.007);
    });
  }

  it("draws by weight, whatever the weights sum up to", () => {
    const random = createRandomSource(3);
    const weights = TARGET.map((probability) => probability * 17);
    const counts = new Array<number>(6).fill(0);
    for (let draw = 0; draw < DRAWS; draw++) counts[drawToken(weights, random)]!++;
    expect(chiSquare(counts, TARGET)).toBeLessThan(CHI_SQUARE_MAX);
  });
});

import type { BundleHead, BundleHeads, SparsityPredictor, WeightRef } from "@flashlm/contracts";
import { FlashlmError } from "@flashlm/contracts";
import { createPrng, predictorConformance } from "@flashlm/contracts/testing";
import { describe, expect, it } from "vitest";
import { lowRankPredictor } from "../src/index.js";
import { dot, type FakeContext, fakeHeadContext, HIDDEN_SIZE, NEURON_COUNTS } from "./fake-kernels.js";

const RANK = 3;
const figures = { predictedShare: 0, falseNegativeShare: 0, falsePositiveShare: 0, missedShare: 0 };

function head(layerIndex: number): BundleHead {
  const points = [0.01, 0.04].map((missedTarget, index) => ({
    ...figures,
    missedTarget,
    threshold: index * 0.25 - 0.125,
  }));
  return { layerIndex, rank: RANK, points };
}

const heads: BundleHeads = {
  text: "",
  tokenCount: 1,
  heldOutTokenCount: 1,
  lowrank: [head(0), head(1)],
  lookahead: [head(0)],
};

const context = (changed: Partial<BundleHeads> = {}): FakeContext =>
  fakeHeadContext({ ...heads, ...changed });

predictorConformance({ name: "low rank", part: lowRankPredictor(), createContext: () => context() });
predictorConformance({
  name: "low rank with look-ahead",
  part: lowRankPredictor({ lookAhead: true, missedShare: 0.01 }),
  createContext: () => context(),
});

predictorConformance({
  name: "exact look-ahead",
  part: lowRankPredictor({ head: "lookahead", lookAhead: true, missedShare: 0.01 }),
  createContext: () => context(),
});

function setHidden(made: FakeContext, seed: number): Float32Array {
  const random = createPrng(seed);
  const row = made.kernels.memory.floats(made.hidden, HIDDEN_SIZE);
  for (let index = 0; index < row.length; index++) row[index] = random() * 2 - 1;
  made.kernels.memory.words(made.tokenCount, 1)[0] = 1;
  return row.slice();
}

/** Float64, from the definition: b * f(a * x) + bias above the threshold. */
function expected(
  made: FakeContext,
  name: string,
  target: number,
  row: Float32Array,
  threshold: number,
  between: (value: number) => number = (value) => value,
): number[] {
  const a = made.values(`${name}.a.weight`);
  const low = Float32Array.from({ length: RANK }, (_, index) => between(dot(a, index, row)));
  const b = made.values(`${name}.b.weight`);
  const bias = made.values(`${name}.bias`);
  return Array.from({ length: NEURON_COUNTS[target]! }, (_, neuron) =>
    dot(b, neuron, low) + bias[neuron]! > threshold ? 1 : 0,
  );
}

/** What layer 0 guesses of layer 1, as a mask. */
function lookAheadMask(predictor: SparsityPredictor, margin: number): Uint8Array<ArrayBuffer> {
  const neuronCount = NEURON_COUNTS[1]!;
  const ids = new Uint32Array(neuronCount);
  const listed = ids.subarray(0, predictor.lookAheadInto!(0, ids, margin));
  const mask = new Uint8Array(neuronCount);
  for (const id of listed) mask[id] = 1;
  return mask;
}

const countOf = (mask: Uint8Array): number => mask.reduce((sum, kept) => sum + kept, 0);

function faultOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return FlashlmError.isInstance(error) ? `${error.code} ${error.message}` : String(error);
  }
  return "no error";
}

describe("low-rank predictor", () => {
  it.each([
    [0.01, -0.125],
    [0.02, 0],
    [0.04, 0.125],
  ])("predicts scores above the threshold for a missed share of %f", (missedShare, threshold) => {
    const made = context();
    const predictor = lowRankPredictor({ missedShare }).create(made);
    for (const layerIndex of [0, 1]) {
      const row = setHidden(made, layerIndex + 1);
      made.kernels.run(predictor.scoreProgram(layerIndex)!);
      const mask = new Uint8Array(NEURON_COUNTS[layerIndex]!);
      const count = predictor.predictInto(layerIndex, 1, { mask });
      const wanted = expected(made, `layers.${layerIndex}.lowrank`, layerIndex, row, threshold);
      expect(Array.from(mask)).toEqual(wanted);
      expect(count).toBe(wanted.reduce((sum, kept) => sum + kept, 0));
      expect(new Set(wanted).size).toBe(2);
    }
  });

  it("offers the next layer's neurons beside its own, and does not disturb them", () => {
    const made = context();
    const predictor = lowRankPredictor({ lookAhead: true, missedShare: 0.04 }).create(made);
    const row = setHidden(made, 5);
    made.kernels.run(predictor.scoreProgram(0)!);
    made.kernels.run(predictor.lookAheadProgram!(0)!);
    const own = new Uint8Array(NEURON_COUNTS[0]!);
    const next = lookAheadMask(predictor, 0);
    predictor.predictInto(0, 1, { mask: own });
    expect(Array.from(own)).toEqual(expected(made, "layers.0.lowrank", 0, row, 0.125));
    expect(Array.from(next)).toEqual(expected(made, "layers.0.lookahead", 1, row, 0.125));
    const scores = predictor.lookAheadScores!(0);
    expect(Array.from(scores, (score) => Number(score > 0.125))).toEqual(Array.from(next));
    const surer = lookAheadMask(predictor, 0.5);
    expect(Array.from(surer)).toEqual(expected(made, "layers.0.lookahead", 1, row, 0.625));
    expect(countOf(surer)).toBeLessThan(countOf(next));
    expect(predictor.lookAheadProgram!(1)).toBeNull();
    expect(lowRankPredictor().create(context()).lookAheadProgram).toBeUndefined();
  });

  it("computes with lookahead what the layer before named", () => {
    const made = context();
    const predictor = lowRankPredictor({ head: "lookahead", missedShare: 0.04 }).create(made);
    const rows = [11, 12].map((seed, layerIndex) => {
      const row = setHidden(made, seed);
      const program = predictor.scoreProgram(layerIndex);
      if (program) made.kernels.run(program);
      const mask = new Uint8Array(NEURON_COUNTS[layerIndex]!);
      predictor.predictInto(layerIndex, 1, { mask });
      return { row, mask };
    });
    const first = rows[0]!.row;
    expect(Array.from(rows[0]!.mask)).toEqual(expected(made, "layers.0.lowrank", 0, first, 0.125));
    expect(Array.from(rows[1]!.mask)).toEqual(expected(made, "layers.0.lookahead", 1, first, 0.125));
  });

  it("offers with lookahead exactly what it will compute, from the tensors of one head a layer", () => {
    const made = context();
    const part = lowRankPredictor({ head: "lookahead", lookAhead: true, missedShare: 0.04 });
    expect([part.name, part.lookAhead, part.lookAheadIsExact]).toEqual(["lookahead:0.04", true, true]);
    expect(part.tensorNames(made.manifest, 0)).toHaveLength(6);
    expect(part.tensorNames(made.manifest, 1).every((name) => name.startsWith("lookahead."))).toBe(true);
    const own = new Set(["layers.0.lowrank", "layers.0.lookahead", "layers.1.lookahead"]);
    const tensor = (name: string): WeightRef => {
      expect(own.has(name.replace(/\.[^.]+(\.weight)?$/, "")), name).toBe(true);
      return made.tensor(name);
    };
    const predictor = part.create({ ...made, tensor });
    setHidden(made, 21);
    made.kernels.run(predictor.scoreProgram(0)!);
    expect(predictor.lookAheadProgram!(0)).toBeNull();
    const guessed = lookAheadMask(predictor, 0);
    const computed = new Uint8Array(NEURON_COUNTS[1]!);
    const scores = Array.from(predictor.lookAheadScores!(0));
    setHidden(made, 22);
    const program = predictor.scoreProgram(1);
    if (program) made.kernels.run(program);
    predictor.predictInto(1, 1, { mask: computed });
    expect(computed).toEqual(guessed);
    expect(Array.from(predictor.scores!(1))).toEqual(scores);
    expect(lowRankPredictor({ lookAhead: true }).lookAheadIsExact).toBe(false);
    expect(lowRankPredictor({ head: "lookahead" }).lookAheadIsExact).toBe(false);
  });

  it("takes 0 as the threshold of imported heads", () => {
    const made = context({ lowrank: heads.lowrank.map((one) => ({ ...one, points: [] })) });
    const predictor = lowRankPredictor().create(made);
    const row = setHidden(made, 8);
    made.kernels.run(predictor.scoreProgram(0)!);
    const mask = new Uint8Array(NEURON_COUNTS[0]!);
    predictor.predictInto(0, 1, { mask });
    expect(Array.from(mask)).toEqual(expected(made, "layers.0.lowrank", 0, row, 0));
    expect(faultOf(() => lowRankPredictor({ missedShare: 0.02 }).create(made))).toMatch(
      /^PREDICTOR_OPTION .*imported/,
    );
  });

  it("applies a ReLU between the two matrices of heads that have one", () => {
    const rectified = (one: BundleHead): BundleHead => ({ ...one, activation: "relu", points: [] });
    const made = context({
      lowrank: heads.lowrank.map(rectified),
      lookahead: heads.lookahead.map(rectified),
    });
    const predictor = lowRankPredictor({ lookAhead: true }).create(made);
    let differs = 0;
    for (const [name, target] of [
      ["lowrank", 0],
      ["lookahead", 1],
    ] as const) {
      const row = setHidden(made, 21 + target);
      made.kernels.run(name === "lowrank" ? predictor.scoreProgram(0)! : predictor.lookAheadProgram!(0)!);
      let mask = new Uint8Array(NEURON_COUNTS[target]!);
      if (name === "lowrank") predictor.predictInto(0, 1, { mask });
      else mask = lookAheadMask(predictor, 0);
      const prefix = `layers.0.${name}`;
      const wanted = expected(made, prefix, target, row, 0, (value) => Math.max(0, value));
      expect(Array.from(mask)).toEqual(wanted);
      const linear = expected(made, prefix, target, row, 0);
      differs += wanted.filter((kept, neuron) => kept !== linear[neuron]).length;
    }
    expect(differs).toBeGreaterThan(0);
  });

  it("says what is missing", () => {
    const without = fakeHeadContext(undefined);
    expect(faultOf(() => lowRankPredictor().create(without))).toMatch(
      /^PREDICTOR_NOT_AVAILABLE .*train-predictor/,
    );
    expect(faultOf(() => lowRankPredictor().tensorNames(without.manifest, 0))).toMatch(
      /^PREDICTOR_NOT_AVAILABLE/,
    );
    const ahead = context({ lookahead: [] });
    expect(faultOf(() => lowRankPredictor({ lookAhead: true }).tensorNames(ahead.manifest, 0))).toMatch(
      /0 of 1/,
    );
    for (const missedShare of [0.005, 0.2])
      expect(faultOf(() => lowRankPredictor({ missedShare }).create(context()))).toMatch(
        /^PREDICTOR_OPTION .*from 0\.01 to 0\.04/,
      );
    expect(faultOf(() => lowRankPredictor({ missedShare: 0 }))).toMatch(/^PREDICTOR_OPTION/);
  });
});

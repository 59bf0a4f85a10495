import { createPrng } from "@flashlm/contracts/testing";
import { describe, expect, it } from "vitest";
import { makeEstimate } from "../src/training/estimate.js";
import { allocateHead, trainingBytes } from "../src/training/head-parameters.js";
import type { HeadSamples } from "../src/training/head-samples.js";
import { lossWeights } from "../src/training/loss.js";
import { startHead } from "../src/training/start-head.js";
import { loadStartSamples } from "../src/training/start-samples.js";
import { findSubspace } from "../src/training/subspace.js";
import { Workspace } from "../src/training/workspace.js";
import { eigenvalues, inverse, plusDiagonal, type Rows, times, transposed } from "./dense-oracle.js";
import { FakeKernels } from "./fake-kernels.js";

interface Case {
  readonly hiddenSize: number;
  readonly neuronCount: number;
  readonly tokenCount: number;
  readonly rank: number;
  readonly batchTokens: number;
  readonly lookAhead: boolean;
  readonly change?: (row: number[], token: number) => void;
}

const unpack = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!;
const bfloat = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;

function makeSamples(shape: Case): HeadSamples {
  const { hiddenSize: d, neuronCount: n, tokenCount, lookAhead, change } = shape;
  const random = createPrng(11);
  const normal = (): number => Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
  const mixed = Array.from({ length: d }, () => Array.from({ length: d }, normal));
  const rows = Array.from({ length: tokenCount }, (_, token) => {
    const sources = Array.from({ length: d }, (_, k) => normal() / (1 + k / 3));
    const row = mixed.map((weights) => 2 + weights.reduce((sum, each, k) => sum + each * sources[k]!, 0));
    change?.(row, token);
    return row;
  });
  const inputs = Uint16Array.from(rows.flat(), bfloat);
  return {
    hiddenSize: d,
    neuronCount: n,
    inputs,
    targetInputs: lookAhead ? inputs.map((bits) => bfloat(0.7 * unpack(bits) + 0.3 * normal())) : inputs,
    codes: Uint8Array.from({ length: tokenCount * n }, () => (random() < 0.2 ? 1 + random() * 254 : 0)),
    contributionOfCode: Float32Array.from({ length: 256 }, (_, code) => code / 8),
    training: Uint32Array.from({ length: tokenCount }, (_, token) => token),
    heldOut: new Uint32Array(0),
    weight: Float32Array.from({ length: n * d }, normal),
    bias: Float32Array.from({ length: n }, normal),
  };
}

const rowsOf = (values: ArrayLike<number>, rowCount: number, columnCount: number): Rows =>
  Array.from({ length: rowCount }, (_, row) =>
    Array.from({ length: columnCount }, (_, k) => values[row * columnCount + k]!),
  );

/** Inputs less their mean, over the root of their number. */
function centred(source: Uint16Array, tokenCount: number, d: number): Rows {
  const rows = rowsOf(Float32Array.from(source, unpack), tokenCount, d);
  const means = transposed(rows).map((column) => column.reduce((sum, value) => sum + value, 0) / tokenCount);
  return rows.map((row) => row.map((value, k) => (value - means[k]!) / Math.sqrt(tokenCount)));
}

const trace = (x: Rows): number => x.reduce((sum, row, index) => sum + row[index]!, 0);

/** Metric of x, XᵀX + ridge, YᵀX, and what the best linear estimate of y from x explains of y: all from their definitions. */
function oracle(shape: Case, samples: HeadSamples): Record<"metric" | "cross" | "explained", Rows> {
  const { hiddenSize: d, tokenCount, lookAhead } = shape;
  const x = centred(samples.inputs, tokenCount, d);
  const square = times(transposed(x), x);
  const metric = plusDiagonal(square, (1e-3 * trace(square)) / d + 1e-12);
  if (!lookAhead) return { metric, cross: metric, explained: metric };
  const cross = times(transposed(centred(samples.targetInputs, tokenCount, d)), x);
  return { metric, cross, explained: times(times(cross, inverse(metric)), transposed(cross)) };
}

function prepare(shape: Case) {
  const { hiddenSize, neuronCount, rank, batchTokens } = shape;
  const sizes = { hiddenSize, neuronCount, rank, batchTokens };
  const workspace = new Workspace(new FakeKernels(trainingBytes(sizes)));
  return { workspace, head: allocateHead(workspace, sizes), samples: makeSamples(shape) };
}

const FEW: Omit<Case, "lookAhead"> = {
  hiddenSize: 83,
  neuronCount: 131,
  tokenCount: 71,
  rank: 9,
  batchTokens: 32,
};
const MANY: Omit<Case, "lookAhead"> = {
  hiddenSize: 21,
  neuronCount: 67,
  tokenCount: 203,
  rank: 6,
  batchTokens: 32,
};
const CONSTANT: Case["change"] = (row) => {
  row[3] = 5;
};
/** One input varies about a hundred times as much as the others. */
const OUTLIER: Case["change"] = (row, token) => {
  row[5] = 300 * Math.sin(token * token);
};

describe.each([
  ["own inputs, fewer tokens than inputs", { ...FEW, lookAhead: false }],
  ["own inputs, more tokens", { ...MANY, lookAhead: false }],
  ["look-ahead, fewer tokens than inputs", { ...FEW, lookAhead: true }],
  ["look-ahead, more tokens", { ...MANY, lookAhead: true }],
  ["own inputs, a constant column", { ...MANY, lookAhead: false, change: CONSTANT }],
  ["look-ahead, a constant column", { ...FEW, lookAhead: true, change: CONSTANT }],
  ["own inputs, an outlier", { ...FEW, lookAhead: false, change: OUTLIER }],
  ["look-ahead, an outlier, fewer tokens than inputs", { ...FEW, lookAhead: true, change: OUTLIER }],
  ["look-ahead, an outlier, more tokens", { ...MANY, lookAhead: true, change: OUTLIER }],
  ["own inputs, full rank", { ...MANY, rank: 21, lookAhead: false }],
  ["look-ahead, as many tokens as inputs", { ...MANY, tokenCount: 21, lookAhead: true }],
] as [string, Case][])("the starting subspace: %s", (_name, shape) => {
  it("explains as much of the weighted targets as any, within 1 %, and is what it is said to be", async () => {
    const { hiddenSize: d, neuronCount: n, rank } = shape;
    const { workspace, head, samples } = prepare(shape);
    const importance = Float64Array.from({ length: n }, (_, neuron) => 0.1 + (neuron % 7));
    const sample = await loadStartSamples(workspace, head, samples);
    const estimate = await makeEstimate(workspace, head, sample);
    head.weight.floats.set(samples.weight);
    await findSubspace(workspace, head, estimate, importance);
    const a = rowsOf(head.a.floats, rank, d);
    const b = rowsOf(head.b.floats, n, rank);
    const weight = rowsOf(samples.weight, n, d);
    const weighted = weight.map((row, neuron) => row.map((value) => value * importance[neuron]!));
    const { metric, cross, explained } = oracle(shape, samples);
    // Captured with the best second matrix for this first one.
    const low = times(times(a, metric), transposed(a));
    const seen = times(times(weighted, cross), transposed(a));
    const captured = trace(times(times(seen, inverse(low)), transposed(seen)));
    const best = eigenvalues(times(times(weighted, explained), transposed(weighted)));
    const optimum = best.slice(0, rank).reduce((sum, value) => sum + value, 0);
    expect(captured / optimum).toBeGreaterThan(0.99);
    expect(captured / optimum).toBeLessThan(1 + 1e-4);
    for (const [row, values] of low.entries())
      for (const [column, value] of values.entries()) expect(value).toBeCloseTo(row === column ? 1 : 0, 2);
    const scale = Math.sqrt(optimum / n / rank);
    const expected = times(times(weight, cross), transposed(a));
    for (const [neuron, row] of b.entries())
      for (const [k, value] of row.entries())
        expect(Math.abs(value - expected[neuron]![k]!) / scale).toBeLessThan(0.01);
  });
});

describe("a start from little", () => {
  it.each([false, true])("is finite where nothing varies (look-ahead: %s)", async (lookAhead) => {
    const shape: Case = { ...MANY, lookAhead, change: (row) => row.fill(0.5) };
    const { workspace, head, samples } = prepare({ ...shape, lookAhead: false });
    const targets = lookAhead ? { ...samples, targetInputs: samples.inputs.slice() } : samples;
    await startHead(workspace, head, targets, lossWeights(targets, 0.5));
    for (const { floats } of [head.a, head.b, head.bTransposed])
      expect(floats.every((x) => x === 0)).toBe(true);
    expect(head.bias.floats.every(Number.isFinite)).toBe(true);
  });

  it.each([false, true])("fills only the rows that tokens tell apart (look-ahead: %s)", async (lookAhead) => {
    const shape: Case = { ...FEW, tokenCount: 5, batchTokens: 5, lookAhead };
    const { workspace, head, samples } = prepare(shape);
    await startHead(workspace, head, samples, lossWeights(samples, 0.5));
    const norms = rowsOf(head.a.floats, shape.rank, shape.hiddenSize).map((row) => Math.hypot(...row));
    // Five tokens less their mean span four directions; with own inputs the ridge gives the others a little.
    if (lookAhead) expect(norms.map((norm) => norm > 0)).toEqual(norms.map((_, row) => row < 4));
    for (const { floats } of [head.a, head.b, head.bias]) expect(floats.every(Number.isFinite)).toBe(true);
  });
});

describe("scores of a start", () => {
  it("are log odds: scaled by what is not explained of each neuron, exactly where no tokens share a row", async () => {
    const shape: Case = { ...MANY, tokenCount: 60, batchTokens: 60, lookAhead: true };
    const { hiddenSize: d, neuronCount: n, rank, tokenCount } = shape;
    const { workspace, head, samples } = prepare(shape);
    await startHead(workspace, head, samples, lossWeights(samples, 0.5));
    const x = centred(samples.inputs, tokenCount, d);
    const y = centred(samples.targetInputs, tokenCount, d);
    const targets = times(y, transposed(rowsOf(samples.weight, n, d)));
    const low = times(x, transposed(rowsOf(head.a.floats, rank, d)));
    const scores = times(low, transposed(rowsOf(head.b.floats, n, rank)));
    for (let neuron = 0; neuron < n; neuron++) {
      // 1.702 / scale is the root of what scores / scale leave of the targets; the least squares fit in one unknown.
      const [st, ss, tt] = [scores, scores, targets].map((left, which) =>
        left.reduce((sum, row, t) => sum + row[neuron]! * (which === 1 ? scores : targets)[t]![neuron]!, 0),
      ) as [number, number, number];
      // |t - s / scale|² = 1.702² / scale²  ->  tt q² - 2 st q + ss - 1.702² = 0 for q = scale.
      const discriminant = st * st - tt * (ss - 1.702 ** 2);
      const root = (st + Math.sqrt(Math.max(0, discriminant))) / tt;
      const residual = tt - (2 * st) / root + ss / root ** 2;
      expect(root).toBeGreaterThan(0);
      expect(root * Math.sqrt(residual)).toBeCloseTo(1.702, 1);
    }
  });
});

describe("the sketch of a sample", () => {
  it.each([false, true])("keeps lengths on average (look-ahead: %s)", async (lookAhead) => {
    const shape: Case = { ...MANY, tokenCount: 1200, batchTokens: 64, lookAhead };
    const { hiddenSize: d, neuronCount: n, tokenCount } = shape;
    const { workspace, head, samples } = prepare(shape);
    const sample = await loadStartSamples(workspace, head, samples);
    const weight = transposed(rowsOf(samples.weight, n, d));
    const squares = (rows: Rows): number[] =>
      transposed(times(rows, weight)).map((column) => column.reduce((sum, value) => sum + value ** 2, 0));
    for (const [source, sketch] of [
      [samples.inputs, sample.sketch],
      [samples.targetInputs, sample.targetSketch],
    ] as const) {
      const expected = squares(centred(source, tokenCount, d));
      const shares = squares(rowsOf(sketch.floats, shape.batchTokens, d)).map((v, k) => v / expected[k]!);
      // 64 rows: one standard deviation is sqrt(2 / 64) = 0.18 of a neuron's variance, and neurons err alike.
      expect(Math.abs(shares.reduce((sum, share) => sum + share, 0) / n - 1)).toBeLessThan(0.2);
      for (const share of shares) expect(Math.abs(share - 1)).toBeLessThan(4 * 0.18);
    }
  });
});

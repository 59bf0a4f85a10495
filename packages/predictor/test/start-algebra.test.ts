import { createPrng } from "@flashlm/contracts/testing";
import { describe, expect, it } from "vitest";
import { bestCombinations } from "../src/training/combinations.js";
import { inverseFactor } from "../src/training/inverse-factor.js";
import { orthonormaliseRows } from "../src/training/orthonormalise.js";
import { symmetricEigen } from "../src/training/symmetric-eigen.js";
import { Workspace } from "../src/training/workspace.js";
import { eigenvalues, type Rows, times, transposed } from "./dense-oracle.js";
import { FakeKernels } from "./fake-kernels.js";

const random = createPrng(3);
const randomRows = (rowCount: number, columnCount: number): Rows =>
  Array.from({ length: rowCount }, () => Array.from({ length: columnCount }, () => 2 * random() - 1));
const rowsOf = (values: ArrayLike<number>, size: number): Rows =>
  Array.from({ length: size }, (_, row) => Array.from({ length: size }, (_, k) => values[row * size + k]!));

/** Largest difference of two matrices. */
const difference = (x: Rows, y: Rows): number =>
  Math.max(...x.flatMap((row, index) => row.map((value, k) => Math.abs(value - y[index]![k]!))));
const identity = (size: number): Rows =>
  Array.from({ length: size }, (_, row) => Array.from({ length: size }, (_, k) => (k === row ? 1 : 0)));

describe("the inverse of a Cholesky factor", () => {
  it.each([1, 5, 64, 131])("of %i rows inverts the matrix", async (size) => {
    const workspace = new Workspace(new FakeKernels(1 << 20));
    const [matrix, transposedFactor, lower, panel] = Array.from({ length: 4 }, () =>
      workspace.matrix(size * size),
    ) as [
      ReturnType<Workspace["matrix"]>,
      ReturnType<Workspace["matrix"]>,
      ReturnType<Workspace["matrix"]>,
      ReturnType<Workspace["matrix"]>,
    ];
    const x = randomRows(size, size + 3);
    const square = times(x, transposed(x)).map((row, index) =>
      row.map((v, k) => v + (k === index ? 0.5 : 0)),
    );
    matrix.floats.set(square.flat());
    for (const { floats } of [transposedFactor, lower, panel]) floats.fill(7);
    await inverseFactor(workspace, { matrix, transposed: transposedFactor, lower, panel }, size, 0.5);
    const factor = rowsOf(matrix.floats, size);
    expect(difference(transposed(factor), rowsOf(transposedFactor.floats, size))).toBe(0);
    expect(factor.every((row, index) => row.every((value, k) => k <= index || value === 0))).toBe(true);
    expect(difference(times(times(factor, square), transposed(factor)), identity(size))).toBeLessThan(1e-3);
  });
});

describe("eigenvectors of a symmetric matrix", () => {
  it.each([
    ["random", 1, 23],
    ["random", 1, 60],
    ["of rank 3", 3, 17],
    ["of one element", 1, 1],
    ["of nothing", 0, 9],
  ])("%s", (_name, rank, size) => {
    const x = rank === 1 ? randomRows(size, size) : randomRows(size, Math.max(1, rank));
    const square = rank === 0 ? identity(size).map((row) => row.map(() => 0)) : times(x, transposed(x));
    const { values, vectors } = symmetricEigen(square.flat(), size);
    const rows = rowsOf(vectors, size);
    expect(difference(times(rows, transposed(rows)), identity(size))).toBeLessThan(1e-12);
    const diagonal = identity(size).map((row, index) => row.map((value) => value * values[index]!));
    expect(difference(times(times(rows, square), transposed(rows)), diagonal)).toBeLessThan(1e-11 * size);
  });
});

describe("the best combinations", () => {
  it("are orthonormal in the metric and reach the largest eigenvalues of the pencil", () => {
    const [size, rank] = [14, 5];
    const x = randomRows(size, size);
    const metric = times(x, transposed(x)).map((row, index) =>
      row.map((value, k) => value + (k === index ? 0.1 : 0)),
    );
    const y = randomRows(size, 8);
    const weights = times(y, transposed(y));
    const found = bestCombinations(weights.flat(), metric.flat(), size, rank);
    const rows = Array.from({ length: rank }, (_, row) =>
      Array.from(found.subarray(row * size, (row + 1) * size)),
    );
    expect(difference(times(times(rows, metric), transposed(rows)), identity(rank))).toBeLessThan(1e-9);
    const reached = times(times(rows, weights), transposed(rows)).map((row, index) => row[index]!);
    // The pencil's eigenvalues are those of the symmetric yᵀ N⁻¹ y.
    const { values, vectors } = symmetricEigen(metric.flat(), size);
    const whitened = rowsOf(vectors, size).map((row, index) =>
      row.map((value) => value / Math.sqrt(values[index]!)),
    );
    const best = eigenvalues(times(times(whitened, weights), transposed(whitened)));
    for (const [index, value] of reached.entries()) expect(value / best[index]!).toBeCloseTo(1, 8);
  });

  it("leave out what the metric does not tell apart", () => {
    const found = bestCombinations(identity(3).flat(), [4, 0, 0, 0, 1e-8, 0, 0, 0, 0], 3, 2);
    expect(Array.from(found, Math.abs)).toEqual([0.5, 0, 0, 0, 0, 0]);
  });
});

describe("orthonormal rows", () => {
  it("span what they did, and a row that depends on others becomes 0", () => {
    const x = randomRows(6, 19);
    x[4] = x[1]!.map((value, k) => value - 2 * x[2]![k]!);
    const rows = Float32Array.from(x.flat());
    orthonormaliseRows(rows, 6, 19);
    const found = Array.from({ length: 6 }, (_, row) => Array.from(rows.subarray(row * 19, (row + 1) * 19)));
    const expected = identity(6);
    expected[4]![4] = 0;
    expect(difference(times(found, transposed(found)), expected)).toBeLessThan(1e-5);
    const kept = times(times(x, transposed(found)), found);
    expect(difference(kept, x)).toBeLessThan(1e-5);
  });
});

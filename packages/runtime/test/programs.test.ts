import type { KernelOp } from "@flashlm/contracts";
import { describe, expect, it } from "vitest";
import { pieces } from "../src/programs.js";

const MEGABYTE = 2 ** 20;

const norm = { op: "norm" } as KernelOp;
/** A product with f32 weights of so many MiB. */
const product = (megabytes: number): KernelOp =>
  ({ op: "matmul", weight: { dtype: "f32", rowCount: megabytes, columnCount: MEGABYTE / 4 } }) as KernelOp;
const namesOf = (ops: readonly KernelOp[]): string[] =>
  pieces(ops).map((piece) => piece.map(({ op }) => op).join(" "));

describe("pieces of a layer's attention", () => {
  it("are one where weights are small", () => {
    expect(namesOf([norm, product(20), product(20), product(20), norm])).toEqual([
      "norm matmul matmul matmul norm",
    ]);
  });

  it("are several where weights are large, none without weights of its own", () => {
    const [half, whole] = [product(32), product(64)];
    expect(namesOf([norm, half, half, half, norm, half, norm])).toEqual([
      "norm matmul matmul",
      "matmul norm matmul norm",
    ]);
    expect(namesOf([norm, whole, whole, norm])).toEqual(["norm matmul", "matmul norm"]);
    expect(namesOf([norm, whole, half, norm])).toEqual(["norm matmul matmul norm"]);
    expect(pieces([norm, whole, whole, half]).flat()).toEqual([norm, whole, whole, half]);
  });
});

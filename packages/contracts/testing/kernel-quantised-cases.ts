import { expect, it } from "vitest";
import type { DotPrecision, KernelSet, WeightDtype } from "../src/index.js";
import { isBlockDtype } from "../src/index.js";
import { expectClose, KernelFixture, oraclePrecise } from "./kernel-fixture.js";
import { TOLERANCE } from "./tolerance.js";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

interface MatmulCase {
  readonly dtype: WeightDtype;
  readonly precision: DotPrecision;
  readonly rows: number;
  readonly columns: number;
  readonly tokens: number;
  readonly shiftBytes?: number;
  /** Changes the source before it is used. */
  readonly spoil?: (source: Float32Array) => void;
}

/** Runs a product with a bias, checks it against the oracle and returns its bits. */
async function product(set: KernelSet, test: MatmulCase): Promise<Uint32Array> {
  const { dtype, precision, rows, columns, tokens } = test;
  const fixture = new KernelFixture(set, rows * 1000 + columns + tokens, test.shiftBytes ?? 0);
  const weight = fixture.weight(dtype, rows, columns, true);
  const { handle } = fixture.vector(tokens * columns, 2);
  test.spoil?.(set.memory.floats(handle, tokens * columns));
  const source = fixture.read(handle, tokens * columns);
  const target = fixture.memory(tokens * rows * 4);
  const bias = fixture.vector(rows);
  await fixture.run([
    {
      op: "matmul",
      precision,
      tokenCount: fixture.word(tokens),
      weight: weight.ref,
      source: handle,
      target,
      bias: bias.handle,
      accumulate: false,
    },
  ]);
  fixture.read(target, tokens * rows).forEach((got, i) => {
    const [token, row] = [Math.floor(i / rows), i % rows];
    const dot = oraclePrecise(precision, dtype, weight.values, row, source, token, columns);
    const isRounded = precision === "q8" && isBlockDtype(dtype);
    const tolerance = isRounded
      ? TOLERANCE.blocks(columns / 32, dot.absolute)
      : TOLERANCE.sum(columns, dot.absolute);
    const want = dot.sum + bias.values[row]!;
    expectClose(`token ${token} row ${row}`, got, want, tolerance + TOLERANCE.value(1 + Math.abs(want)));
  });
  return set.memory.words(target, tokens * rows).slice();
}

/** Sources whose rounding has edges: empty blocks, ties, one large value, values of one size, tiny ones. */
const SPOILERS: Readonly<Record<string, (source: Float32Array) => void>> = {
  "zero blocks": (source) => source.fill(0, 0, 32),
  "all zero": (source) => source.fill(0),
  ties: (source) => source.forEach((_, i) => void (source[i] = i % 32 === 0 ? 127 : (i % 9) - 4.5)),
  "one large value": (source) => void (source[37 % source.length] = -3e4),
  "values of one size": (source) => source.forEach((value, i) => void (source[i] = Math.sign(value) * 0.75)),
  "tiny values": (source) => source.forEach((value, i) => void (source[i] = value * 1e-30)),
};

/** Dots of precision "q8", odd places and random shapes. */
export function quantisedCases(set: () => KernelSet): void {
  it.each(DTYPES)("matmul %s in precision q8", async (dtype) => {
    const columnsOf = isBlockDtype(dtype) ? [32, 64, 96, 160, 576] : [1, 7, 33, 64];
    for (const columns of columnsOf) {
      for (const [rows, tokens] of [
        [1, 1],
        [7, 1],
        [5, 3],
        [34, 9],
      ] as const) {
        await product(set(), { dtype, precision: "q8", rows, columns, tokens });
      }
    }
  });

  it.each(Object.keys(SPOILERS))("matmul in precision q8: %s", async (name) => {
    for (const dtype of ["q8_0", "q4_0", "q4_1"] as const) {
      const shape = { dtype, precision: "q8", rows: 6, columns: 96 } as const;
      for (const tokens of [1, 2]) await product(set(), { ...shape, tokens, spoil: SPOILERS[name]! });
    }
  });

  it.each(DTYPES)("matmul %s off its alignment: the same bits", async (dtype) => {
    for (const precision of ["f32", "q8"] as const) {
      for (const tokens of [1, 6]) {
        const shape = { dtype, precision, rows: 9, columns: 160, tokens };
        const aligned = await product(set(), shape);
        for (const shiftBytes of [4, 12, 28])
          expect(await product(set(), { ...shape, shiftBytes })).toEqual(aligned);
      }
    }
  });

  it("matmul of random shapes, dtypes, places and precisions", async () => {
    const { random } = new KernelFixture(set(), 20);
    const pick = (count: number): number => Math.floor(random() * count);
    for (let run = 0; run < 60; run++) {
      const dtype = DTYPES[pick(DTYPES.length)]!;
      const columns = isBlockDtype(dtype) ? 32 * (1 + pick(12)) : 1 + pick(300);
      const precision = pick(2) === 0 ? "f32" : "q8";
      const shape = { rows: 1 + pick(40), columns, tokens: 1 + pick(10), shiftBytes: 4 * pick(8) };
      await product(set(), { dtype, precision, ...shape });
    }
  });
}

import { expect, it } from "vitest";
import type { KernelOp, KernelSet, WeightDtype } from "../src/index.js";
import { isBlockDtype, rowBytes } from "../src/index.js";
import { expectClose, KernelFixture } from "./kernel-fixture.js";
import { oracleRow } from "./oracle-dtypes.js";
import { TOLERANCE } from "./tolerance.js";

const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
/** Elements of a row and tokens: below, at and beyond vector widths. */
const LENGTHS = [
  [1, 1],
  [3, 2],
  [4, 1],
  [5, 7],
  [64, 3],
  [131, 2],
  [1000, 1],
] as const;

function scaledCases(set: () => KernelSet): void {
  it.each(LENGTHS)("add and copy, %i elements, %i tokens", async (dim, tokens) => {
    for (const scale of [1, -0.37, 0]) {
      for (const op of ["add", "copy"] as const) {
        const fixture = new KernelFixture(set(), dim + tokens);
        const source = fixture.vector(dim * tokens, 3);
        const target = fixture.vector(dim * tokens, 3);
        const shape = { tokenCount: fixture.word(tokens), dim, scale };
        await fixture.run([{ op, ...shape, source: source.handle, target: target.handle }]);
        fixture.read(target.handle, dim * tokens).forEach((got, i) => {
          const held = op === "add" ? target.values[i]! : 0;
          const want = held + Math.fround(scale) * source.values[i]!;
          expectClose(`${op} ${i}`, got, want, TOLERANCE.value(Math.abs(held) + Math.abs(want)));
        });
      }
    }
  });

  it("copy runs in place, and with a scale of 0 nothing of the source is left", async () => {
    const fixture = new KernelFixture(set(), 1);
    const vector = fixture.vector(37);
    const shape = { op: "copy", tokenCount: fixture.word(1), dim: 37 } as const;
    const places = { source: vector.handle, target: vector.handle };
    await fixture.run([{ ...shape, ...places, scale: 2 }]);
    expect([...fixture.read(vector.handle, 37)]).toEqual([...vector.values].map((value) => value * 2));
    const hostile = fixture.memory(37 * 4);
    await fixture.run([{ ...shape, source: hostile, target: vector.handle, scale: 0 }]);
    expect([...set().memory.words(vector.handle, 37)]).toEqual(Array.from({ length: 37 }, () => 0));
  });

  it.each(LENGTHS)("softCap, %i elements, %i tokens", async (dim, tokens) => {
    for (const [cap, size] of [
      [30, 100],
      [0.5, 0.01],
      [50, 1e-6],
      [1, 1e30],
    ] as const) {
      const fixture = new KernelFixture(set(), dim + tokens);
      const vector = fixture.vector(dim * tokens, size);
      await fixture.run([
        { op: "softCap", tokenCount: fixture.word(tokens), dim, cap, vector: vector.handle },
      ]);
      fixture.read(vector.handle, dim * tokens).forEach((got, i) => {
        const want = cap * Math.tanh(vector.values[i]! / cap);
        expectClose(`element ${i}`, got, want, TOLERANCE.value(Math.abs(want)));
      });
    }
  });
}

function softmaxCases(set: () => KernelSet): void {
  it.each(LENGTHS)("softmax, %i elements, %i tokens", async (dim, tokens) => {
    for (const temperature of [1, 0.7, 5]) {
      const fixture = new KernelFixture(set(), dim + tokens);
      const vector = fixture.vector(dim * tokens, 12);
      // Masked logits and shares far too small for f32.
      if (dim > 3) set().memory.floats(vector.handle, 2).set([Number.NEGATIVE_INFINITY, -1000]);
      const before = fixture.read(vector.handle, dim * tokens);
      const shape = { tokenCount: fixture.word(tokens), dim };
      await fixture.run([{ op: "softmax", ...shape, temperature, vector: vector.handle }]);
      const got = fixture.read(vector.handle, dim * tokens);
      for (let token = 0; token < tokens; token++) {
        const row = before.subarray(token * dim, token * dim + dim);
        const largest = Math.max(...row);
        const shares = row.map((value) => Math.exp((value - largest) / Math.fround(temperature)));
        const total = shares.reduce((a, b) => a + b, 0);
        shares.forEach((share, i) => {
          const tolerance = TOLERANCE.share(24 / temperature, share / total);
          expectClose(`token ${token} element ${i}`, got[token * dim + i]!, share / total, tolerance);
        });
      }
    }
  });

  it("argmax takes the lowest of equals, wherever the largest stands", async () => {
    for (const dim of [1, 2, 3, 4, 7, 8, 33, 1000]) {
      const places = [0, dim - 1, Math.floor(dim / 2), Math.floor(dim / 3)];
      const fixture = new KernelFixture(set(), dim);
      const source = fixture.vector(dim * places.length);
      const floats = set().memory.floats(source.handle, dim * places.length);
      places.forEach((place, token) => {
        const row = floats.subarray(token * dim, token * dim + dim);
        row.forEach((value, i) => {
          row[i] = value - 3;
        });
        row[place] = -0.5;
        row[dim - 1] = -0.5;
      });
      const target = fixture.memory(places.length * 4);
      const shape = { op: "argmax", tokenCount: fixture.word(places.length), dim } as const;
      await fixture.run([{ ...shape, source: source.handle, target }]);
      expect([...set().memory.words(target, places.length)]).toEqual(places);
    }
  });

  it("argmax of zeros of either sign and of infinities", async () => {
    const fixture = new KernelFixture(set(), 2);
    const [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
    const rows = [
      [-1, -0, 0, -0, -2],
      [low, low, low, low, low],
      [0, 5, high, high, low],
      [low, low, low, low, -1e38],
    ];
    const source = fixture.vector(20);
    set().memory.floats(source.handle, 20).set(rows.flat());
    const target = fixture.memory(16);
    const shape = { op: "argmax", tokenCount: fixture.word(4), dim: 5 } as const;
    await fixture.run([{ ...shape, source: source.handle, target }]);
    expect([...set().memory.words(target, 4)]).toEqual([1, 0, 2, 4]);
  });
}

function convertCases(set: () => KernelSet): void {
  it.each(DTYPES)("convert f32 to %s is bit-exact", async (targetDtype) => {
    for (const [dim, tokens] of isBlockDtype(targetDtype)
      ? [
          [32, 1],
          [96, 3],
          [2080, 2],
        ]
      : LENGTHS) {
      for (const size of [2, 1e-6, 0]) {
        const fixture = new KernelFixture(set(), dim! + tokens!);
        const source = fixture.vector(dim! * tokens!, size);
        // Not -0: its sign decides bits that no value depends on.
        if (size === 0) source.values.fill(0);
        set()
          .memory.floats(source.handle, dim! * tokens!)
          .set(source.values);
        const lengthBytes = tokens! * rowBytes(targetDtype, dim!);
        const target = fixture.memory(lengthBytes);
        const shape = { op: "convert", tokenCount: fixture.word(tokens!), dim: dim! } as const;
        const dtypes = { sourceDtype: "f32", targetDtype } as const;
        await fixture.run([{ ...shape, ...dtypes, source: source.handle, target }]);
        const got = set().memory.bytes(target, lengthBytes);
        expect([...got]).toEqual([...oracleRow(targetDtype, source.values)]);
      }
    }
  });

  it.each(DTYPES)("convert %s to f32 is exact", async (sourceDtype) => {
    for (const [dim, tokens] of [
      [32, 1],
      [96, 3],
      [1056, 2],
    ] as const) {
      const fixture = new KernelFixture(set(), dim + tokens);
      const source = fixture.memory(tokens * rowBytes(sourceDtype, dim));
      const values = fixture.fillWeights(sourceDtype, source, tokens * dim);
      const target = fixture.memory(tokens * dim * 4);
      const shape = { op: "convert", tokenCount: fixture.word(tokens), dim } as const;
      await fixture.run([{ ...shape, sourceDtype, targetDtype: "f32", source, target }]);
      expect([...fixture.read(target, tokens * dim)]).toEqual([...values]);
    }
  });
}

function refusals(set: () => KernelSet): void {
  it("ops and fields that nobody knows are refused, not ignored", () => {
    const fixture = new KernelFixture(set(), 9);
    const vector = fixture.vector(8).handle;
    const tokenCount = fixture.word(1);
    const add = { op: "add", tokenCount, dim: 8, scale: 1, source: vector, target: vector } as const;
    for (const wrong of [
      { ...add, op: "subtract" },
      { ...add, clamp: 3 },
    ]) {
      expect(() => set().compile([wrong as unknown as KernelOp])).toThrow(
        expect.objectContaining({ code: "KERNEL_NOT_SUPPORTED" }),
      );
    }
    expect(set().compile([add]).opCount).toBe(1);
  });

  it("values that make no sense are refused", () => {
    const fixture = new KernelFixture(set(), 9);
    const vector = fixture.vector(64).handle;
    const tokenCount = fixture.word(1);
    const shape = { tokenCount, dim: 33 } as const;
    const wrong: readonly KernelOp[] = [
      { op: "softmax", ...shape, temperature: 0, vector },
      { op: "softCap", ...shape, cap: -1, vector },
      { op: "add", ...shape, scale: Number.NaN, source: vector, target: vector },
      { op: "argmax", tokenCount, dim: 0, source: vector, target: vector },
      { op: "convert", ...shape, sourceDtype: "f32", targetDtype: "q8_0", source: vector, target: vector },
    ];
    for (const op of wrong) {
      expect(() => set().compile([op]), op.op).toThrow(expect.objectContaining({ code: "KERNEL_SHAPE" }));
    }
  });
}

/** Element by element, softmax, argmax and conversion. */
export function vectorCases(set: () => KernelSet): void {
  scaledCases(set);
  softmaxCases(set);
  convertCases(set);
  refusals(set);
}

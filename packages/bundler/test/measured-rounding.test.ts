import { describe, expect, it } from "vitest";
import { MeasuredRounder } from "../src/codecs/measured-rounding.js";
import { decodeRow, encodeRow } from "../src/index.js";

const HIDDEN = 128;
const WIDTH = 64;
const TOKENS = 400;

/** Numbers that are the same on every machine, about normal. */
function seeded(seed: number): () => number {
  let state = seed;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return () => uniform() + uniform() + uniform() + uniform() - 2;
}

/** Inputs that depend on each other, as those of real layers do. */
function inputs(): Float64Array[] {
  const random = seeded(1);
  return Array.from({ length: TOKENS }, () => {
    const factors = Array.from({ length: 8 }, random);
    return Float64Array.from({ length: HIDDEN }, (_, i) => {
      const shared = factors[i % 8]! * 2 + factors[(i >> 3) % 8]!;
      return (shared + random() * 0.5) * (1 + (i % 5));
    });
  });
}

function momentsOf(tokens: readonly Float64Array[]): Float32Array {
  const values = new Float32Array(HIDDEN * WIDTH);
  for (let i = 0; i < HIDDEN; i++) {
    const group = i - (i % WIDTH);
    // What is above the diagonal must not be read.
    for (let j = 0; j < WIDTH; j++)
      values[i * WIDTH + j] =
        group + j <= i
          ? tokens.reduce((sum, x) => sum + x[i]! * x[group + j]!, 0) / tokens.length
          : Number.NaN;
  }
  return values;
}

function weights(rowCount: number): Float32Array {
  const random = seeded(2);
  return Float32Array.from({ length: rowCount * HIDDEN }, () => random() * 0.05);
}

/** Mean squared change of the rows' outputs over tokens, in float64. */
function outputError(rows: Float32Array, coded: readonly Uint8Array[], tokens: readonly Float64Array[]) {
  const decoded = new Float32Array(HIDDEN);
  let sum = 0;
  for (const [index, bytes] of coded.entries()) {
    decodeRow("q4_0", bytes, decoded);
    for (const x of tokens) {
      let error = 0;
      for (let i = 0; i < HIDDEN; i++) error += (rows[index * HIDDEN + i]! - decoded[i]!) * x[i]!;
      sum += error * error;
    }
  }
  return sum / tokens.length;
}

const buffers = (count: number): Uint8Array[] =>
  Array.from({ length: count }, () => new Uint8Array((HIDDEN / 32) * 18));

describe("rounding by measured inputs", () => {
  const tokens = inputs();
  const rounder = new MeasuredRounder({ groupWidth: WIDTH, values: momentsOf(tokens) }, HIDDEN);

  it("changes outputs far less than nearest levels do, also on other tokens", () => {
    const rows = weights(16);
    const measured = buffers(16);
    rounder.encodeRows(rows, measured);
    const nearest = buffers(16);
    for (const [at, bytes] of nearest.entries())
      encodeRow("q4_0", rows.subarray(at * HIDDEN, (at + 1) * HIDDEN), bytes);
    const [half, rest] = [tokens.slice(0, TOKENS / 2), tokens.slice(TOKENS / 2)];
    const trained = new MeasuredRounder({ groupWidth: WIDTH, values: momentsOf(half) }, HIDDEN);
    const heldOut = buffers(16);
    trained.encodeRows(rows, heldOut);
    expect(outputError(rows, measured, tokens)).toBeLessThan(0.4 * outputError(rows, nearest, tokens));
    expect(outputError(rows, heldOut, rest)).toBeLessThan(0.5 * outputError(rows, nearest, rest));
  });

  it("gives each row the same bytes, whatever lies beside it", () => {
    const rows = weights(7);
    const together = buffers(7);
    rounder.encodeRows(rows, together);
    for (const [at, bytes] of together.entries()) {
      const [alone] = buffers(1);
      rounder.encodeRows(rows.subarray(at * HIDDEN, (at + 1) * HIDDEN), [alone!]);
      expect(alone).toEqual(bytes);
    }
  });

  it("keeps weights that are levels already, zeros, and layers whose inputs were all zero", () => {
    const rows = Float32Array.from({ length: HIDDEN }, (_, i) => (i % 32 === 0 ? -8 : (i % 15) - 7) / 64);
    const [exact] = buffers(1);
    rounder.encodeRows(rows, [exact!]);
    const decoded = new Float32Array(HIDDEN);
    decodeRow("q4_0", exact!, decoded);
    expect(decoded).toEqual(rows);
    const [zero] = buffers(1);
    rounder.encodeRows(new Float32Array(HIDDEN), [zero!]);
    decodeRow("q4_0", zero!, decoded);
    expect(decoded.every((value) => value === 0)).toBe(true);
    for (const value of [0, Number.NaN, Number.POSITIVE_INFINITY]) {
      const values = new Float32Array(HIDDEN * WIDTH).fill(value);
      const [plain] = buffers(1);
      new MeasuredRounder({ groupWidth: WIDTH, values }, HIDDEN).encodeRows(rows, [plain!]);
      decodeRow("q4_0", plain!, decoded);
      expect(decoded).toEqual(rows);
    }
  });

  it("does not let a weight that is no number spoil the blocks after it", () => {
    const rows = weights(1);
    rows[3] = Number.NaN;
    const [bytes] = buffers(1);
    rounder.encodeRows(rows, [bytes!]);
    const decoded = new Float32Array(HIDDEN);
    decodeRow("q4_0", bytes!, decoded);
    for (let i = 32; i < HIDDEN; i++) expect(Math.abs(decoded[i]! - rows[i]!)).toBeLessThan(0.06);
  });

  it("refuses moments that do not fit", () => {
    for (const [groupWidth, length] of [
      [48, HIDDEN * 48],
      [96, HIDDEN * 96],
      [64, 10],
    ])
      expect(
        () => new MeasuredRounder({ groupWidth: groupWidth!, values: new Float32Array(length!) }, HIDDEN),
      ).toThrow(/expected moments of 128 inputs/);
  });
});

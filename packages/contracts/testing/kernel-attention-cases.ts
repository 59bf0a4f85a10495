import { expect, it } from "vitest";
import type { KernelSet } from "../src/index.js";
import { expectClose, KernelFixture } from "./kernel-fixture.js";
import { TOLERANCE } from "./tolerance.js";

/** position, tokens, heads, key-value heads, head dim, window, capacity */
const SHAPES = [
  [0, 1, 1, 1, 4, null, 8],
  [0, 5, 4, 2, 8, null, 16],
  [9, 1, 9, 3, 64, null, 32],
  [20, 3, 2, 1, 6, null, 24],
  [30, 2, 3, 3, 16, 4, 8],
  [100, 1, 2, 2, 7, 8, 8],
  [5, 6, 6, 2, 32, 3, 64],
  [200, 4, 2, 1, 16, null, 256],
] as const;

function ropeCase(set: () => KernelSet): void {
  it.each([
    [0, 1, 1, 4, 4],
    [3, 5, 3, 8, 4],
    [11, 2, 9, 64, 64],
  ] as const)(
    "rope at %i, %i tokens, %i heads of %i, %i rotated",
    async (position, tokens, headCount, headDim, rotaryDim) => {
      const fixture = new KernelFixture(set(), position + headDim);
      const count = tokens * headCount * headDim;
      const vector = fixture.vector(count);
      const table = fixture.vector((position + tokens) * rotaryDim);
      const places = { position: fixture.word(position), vector: vector.handle, table: table.handle };
      await fixture.run([
        { op: "rope", tokenCount: fixture.word(tokens), ...places, headCount, headDim, rotaryDim },
      ]);
      const got = fixture.read(vector.handle, count);
      const half = rotaryDim / 2;
      for (let i = 0; i < count; i++) {
        const within = i % headDim;
        const row = (position + Math.floor(i / (headCount * headDim))) * rotaryDim;
        const angle = within % half;
        const cosine = table.values[row + angle]!;
        const sine = table.values[row + half + angle]! * (within < half ? -1 : 1);
        const partner = vector.values[within < half ? i + half : i - half] ?? 0;
        const want = within < rotaryDim ? vector.values[i]! * cosine + partner * sine : vector.values[i]!;
        expectClose(`element ${i}`, got[i]!, want, TOLERANCE.value(1));
      }
    },
  );
}

function storeCase(set: () => KernelSet): void {
  it("storeKeyValue wraps around", async () => {
    const fixture = new KernelFixture(set(), 3);
    const keys = fixture.vector(4 * 6);
    const values = fixture.vector(4 * 6);
    const keyCache = fixture.vector(5 * 6);
    const valueCache = fixture.vector(5 * 6);
    const shape = {
      op: "storeKeyValue",
      tokenCount: fixture.word(4),
      position: fixture.word(8),
      keyValueDim: 6,
    } as const;
    const caches = { keyCache: keyCache.handle, valueCache: valueCache.handle, capacityTokens: 5 };
    await fixture.run([{ ...shape, ...caches, keys: keys.handle, values: values.handle }]);
    for (const [cache, rows] of [
      [keyCache, keys],
      [valueCache, values],
    ] as const) {
      const want = Float64Array.from(cache.values);
      [3, 4, 0, 1].forEach((row, token) => {
        want.set(rows.values.subarray(token * 6, token * 6 + 6), row * 6);
      });
      expect([...fixture.read(cache.handle, 30)]).toEqual([...want]);
    }
  });
}

async function attentionCase(set: KernelSet, shape: (typeof SHAPES)[number], spread: number): Promise<void> {
  const [start, tokens, headCount, keyValueHeadCount, headDim, window, capacityTokens] = shape;
  const fixture = new KernelFixture(set, start + headDim);
  const rowSize = keyValueHeadCount * headDim;
  const query = fixture.vector(tokens * headCount * headDim, spread);
  const keys = fixture.vector(capacityTokens * rowSize);
  const values = fixture.vector(capacityTokens * rowSize);
  const target = fixture.memory(tokens * headCount * headDim * 4);
  const scale = 1 / Math.sqrt(headDim);
  const places = { query: query.handle, keyCache: keys.handle, valueCache: values.handle, target };
  const counts = { headCount, keyValueHeadCount, headDim, scale, window, capacityTokens };
  const words = { tokenCount: fixture.word(tokens), position: fixture.word(start) };
  await fixture.run([{ op: "attention", ...words, ...places, ...counts }]);
  const got = fixture.read(target, tokens * headCount * headDim);
  for (let unit = 0; unit < tokens * headCount; unit++) {
    const now = start + Math.floor(unit / headCount);
    const keyValueHead = Math.floor((unit % headCount) / (headCount / keyValueHeadCount));
    const first = Math.max(0, now - (window ?? now + 1) + 1);
    const rows = Array.from(
      { length: now - first + 1 },
      (_, i) => ((first + i) % capacityTokens) * rowSize + keyValueHead * headDim,
    );
    const scores = rows.map((row) => {
      let sum = 0;
      for (let i = 0; i < headDim; i++) sum += query.values[unit * headDim + i]! * keys.values[row + i]!;
      return sum * scale;
    });
    const largest = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - largest));
    const total = shares.reduce((a, b) => a + b, 0);
    for (let i = 0; i < headDim; i++) {
      const want = rows.reduce((sum, row, k) => sum + (shares[k]! / total) * values.values[row + i]!, 0);
      expectClose(
        `unit ${unit} element ${i}`,
        got[unit * headDim + i]!,
        want,
        TOLERANCE.softmax(rows.length, 1),
      );
    }
  }
}

/** Rope, key-value store and attention. */
export function attentionCases(set: () => KernelSet): void {
  ropeCase(set);
  storeCase(set);
  it.each(SHAPES)(
    "attention at %i, %i tokens, heads %i/%i of %i, window %s, capacity %i",
    async (...shape) => {
      await attentionCase(set(), shape as (typeof SHAPES)[number], 1);
      await attentionCase(set(), shape as (typeof SHAPES)[number], 8);
    },
  );
}

import { expect, it } from "vitest";
import type { CacheDtype, KernelSet } from "../src/index.js";
import { rowBytes } from "../src/index.js";
import { expectClose, type FixtureVector, KernelFixture } from "./kernel-fixture.js";
import { ringCases } from "./kernel-ring-cases.js";
import { oracleHalf, oracleHalfValue } from "./oracle-dtypes.js";
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

/** Rows that a ring of 5 holds after 4 tokens from position 8, by the token that wrote them. */
const RING: readonly (readonly [row: number, token: number])[] = [
  [3, 0],
  [4, 1],
  [0, 2],
  [1, 3],
];

async function storeRing(
  set: KernelSet,
  cacheDtype: CacheDtype,
  keyValueDim: number,
): Promise<{ readonly bytes: Uint8Array; readonly before: Uint8Array; readonly rows: Float64Array }[]> {
  const fixture = new KernelFixture(set, keyValueDim);
  const lengthBytes = 5 * rowBytes(cacheDtype, keyValueDim);
  const keys = fixture.vector(4 * keyValueDim, 3);
  const values = fixture.vector(4 * keyValueDim, 3);
  const [keyCache, valueCache] = [fixture.memory(lengthBytes), fixture.memory(lengthBytes)];
  const before = set.memory.bytes(keyCache, lengthBytes).slice();
  await fixture.run([
    {
      op: "storeKeyValue",
      ...(cacheDtype === "f32" ? {} : { cacheDtype }),
      tokenCount: fixture.word(4),
      position: fixture.word(8),
      keyValueDim,
      capacityTokens: 5,
      keys: keys.handle,
      values: values.handle,
      keyCache,
      valueCache,
    },
  ]);
  return [
    { bytes: set.memory.bytes(keyCache, lengthBytes), before, rows: keys.values },
    { bytes: set.memory.bytes(valueCache, lengthBytes), before, rows: values.values },
  ];
}

function storeCases(set: () => KernelSet): void {
  it.each(["f32", "f16"] as const)(
    "storeKeyValue %s wraps around and rounds to nearest even",
    async (dtype) => {
      for (const dim of [1, 6, 8, 37, 64]) {
        for (const { bytes, before, rows } of await storeRing(set(), dtype, dim)) {
          const want = before.slice();
          const view = new DataView(want.buffer);
          for (const [row, token] of RING) {
            for (let i = 0; i < dim; i++) {
              const value = rows[token * dim + i]!;
              if (dtype === "f32") view.setFloat32((row * dim + i) * 4, value, true);
              else view.setUint16((row * dim + i) * 2, oracleHalf(value), true);
            }
          }
          expect([...bytes]).toEqual([...want]);
        }
      }
    },
  );

  it("storeKeyValue q8_0: a scale of the largest / 127, numbers to the nearest", async () => {
    for (const dim of [32, 96]) {
      for (const { bytes, before, rows } of await storeRing(set(), "q8_0", dim)) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        const rowLength = (dim / 32) * 34;
        expect([...bytes.subarray(2 * rowLength, 3 * rowLength)]).toEqual([
          ...before.subarray(2 * rowLength, 3 * rowLength),
        ]);
        for (const [row, token] of RING) {
          for (let block = 0; block < dim / 32; block++) {
            const source = rows.subarray(token * dim + block * 32, token * dim + block * 32 + 32);
            const place = row * rowLength + block * 34;
            const scale = Math.max(...source.map(Math.abs)) / 127;
            expect(view.getUint16(place, true)).toBe(oracleHalf(Math.fround(scale)));
            source.forEach((value, i) => {
              // Half a step, and the f32 roundings of the scale and the quotient.
              expectClose(`number ${i}`, view.getInt8(place + 2 + i), value / scale, 0.5 + 2e-5);
            });
          }
        }
      }
    }
  });

  it("storeKeyValue f16 keeps every f16 and rounds ties, subnormals and overflow", async () => {
    const fixture = new KernelFixture(set(), 4);
    const edges = [0, -0, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65504, 65519.99, 65520, -70000, 1e30];
    edges.push(2 ** -24, 2 ** -25, 2 ** -25 * 1.0001, 3 * 2 ** -25, 2 ** -14 - 2 ** -26, -(2 ** -14), 1e-40);
    edges.push(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    for (let bits = 0; bits < 0x7c00; bits += 7) edges.push(oracleHalfValue(bits));
    const keys = fixture.vector(edges.length);
    set().memory.floats(keys.handle, edges.length).set(edges);
    const [keyCache, valueCache] = [fixture.memory(edges.length * 2), fixture.memory(edges.length * 2)];
    await fixture.run([
      {
        op: "storeKeyValue",
        cacheDtype: "f16",
        tokenCount: fixture.word(1),
        position: fixture.word(0),
        keyValueDim: edges.length,
        capacityTokens: 1,
        keys: keys.handle,
        values: keys.handle,
        keyCache,
        valueCache,
      },
    ]);
    for (const cache of [keyCache, valueCache]) {
      const bytes = set().memory.bytes(cache, edges.length * 2);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      edges.forEach((value, i) => {
        expect([value, view.getUint16(i * 2, true)]).toEqual([value, oracleHalf(Math.fround(value))]);
      });
    }
  });

  it("storeKeyValue of more tokens than the cache holds keeps the last", async () => {
    const fixture = new KernelFixture(set(), 5);
    const keys = fixture.vector(9 * 4);
    const [keyCache, valueCache] = [fixture.memory(3 * 16), fixture.memory(3 * 16)];
    const words = { tokenCount: fixture.word(9), position: fixture.word(2) };
    const places = { keys: keys.handle, values: keys.handle, keyCache, valueCache };
    await fixture.run([{ op: "storeKeyValue", ...words, ...places, keyValueDim: 4, capacityTokens: 3 }]);
    // Positions 8, 9 and 10 stay: tokens 6, 7 and 8 at rows 2, 0 and 1.
    const want = [7, 8, 6].flatMap((token) => [...keys.values.subarray(token * 4, token * 4 + 4)]);
    expect([...fixture.read(keyCache, 12)]).toEqual(want);
    expect([...fixture.read(valueCache, 12)]).toEqual(want);
  });
}

interface Variant {
  readonly spread: number;
  readonly cacheDtype?: CacheDtype;
  readonly softCap?: number;
  readonly alibi?: boolean;
  readonly sinks?: boolean;
}

interface Attended {
  readonly rows: readonly number[];
  /** Shares of the rows' values; less than 1 in all where a sink takes part. */
  readonly shares: readonly number[];
}

/** Which rows a head sees and with what shares, from the definition. */
function oracleShares(
  shape: (typeof SHAPES)[number],
  variant: Variant,
  token: number,
  head: number,
  operands: Readonly<Record<"query" | "keys" | "slopes" | "sinks", Float64Array>>,
): Attended {
  const [start, , headCount, keyValueHeadCount, headDim, window, capacityTokens] = shape;
  const now = start + token;
  const keyValueHead = Math.floor(head / (headCount / keyValueHeadCount));
  const first = Math.max(0, now - (window ?? now + 1) + 1);
  const positions = Array.from({ length: now - first + 1 }, (_, i) => first + i);
  const rows = positions.map(
    (position) => ((position % capacityTokens) * keyValueHeadCount + keyValueHead) * headDim,
  );
  const scores = rows.map((row, k) => {
    let sum = 0;
    for (let i = 0; i < headDim; i++)
      sum += operands.query[(token * headCount + head) * headDim + i]! * operands.keys[row + i]!;
    sum /= Math.sqrt(headDim);
    if (variant.softCap) sum = variant.softCap * Math.tanh(sum / variant.softCap);
    return variant.alibi ? sum + operands.slopes[head]! * (positions[k]! - now) : sum;
  });
  const all = variant.sinks ? [...scores, operands.sinks[head]!] : scores;
  const largest = Math.max(...all);
  const total = all.reduce((sum, score) => sum + Math.exp(score - largest), 0);
  return { rows, shares: scores.map((score) => Math.exp(score - largest) / total) };
}

async function attentionCase(
  set: KernelSet,
  shape: (typeof SHAPES)[number],
  variant: Variant,
): Promise<void> {
  const [start, tokens, headCount, keyValueHeadCount, headDim, window, capacityTokens] = shape;
  const { spread, cacheDtype, softCap } = variant;
  const fixture = new KernelFixture(set, start + headDim);
  const query = fixture.vector(tokens * headCount * headDim, spread);
  const [keys, values] = [0, 1].map(() => {
    const count = capacityTokens * keyValueHeadCount * headDim;
    if (cacheDtype === undefined) return fixture.vector(count);
    const handle = fixture.memory(rowBytes(cacheDtype, count));
    return { handle, values: fixture.fillWeights(cacheDtype, handle, count) };
  }) as [FixtureVector, FixtureVector];
  const [slopes, sinks] = [fixture.vector(headCount, 0.2), fixture.vector(headCount, 4)];
  const target = fixture.memory(tokens * headCount * headDim * 4);
  await fixture.run([
    {
      op: "attention",
      ...(cacheDtype ? { cacheDtype } : {}),
      ...(softCap ? { softCap } : {}),
      ...(variant.alibi ? { alibiSlopes: slopes.handle } : {}),
      ...(variant.sinks ? { sinks: fixture.moving(sinks.handle) } : {}),
      tokenCount: fixture.word(tokens),
      position: fixture.word(start),
      query: query.handle,
      keyCache: keys.handle,
      valueCache: values.handle,
      target,
      headCount,
      keyValueHeadCount,
      headDim,
      scale: 1 / Math.sqrt(headDim),
      window,
      capacityTokens,
    },
  ]);
  const got = fixture.read(target, tokens * headCount * headDim);
  const operands = {
    query: query.values,
    keys: keys.values,
    slopes: slopes.values,
    sinks: sinks.values,
  };
  const magnitude = values.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let unit = 0; unit < tokens * headCount; unit++) {
    const [token, head] = [Math.floor(unit / headCount), unit % headCount];
    const { rows, shares } = oracleShares(shape, variant, token, head, operands);
    for (let i = 0; i < headDim; i++) {
      const want = rows.reduce((sum, row, k) => sum + shares[k]! * values.values[row + i]!, 0);
      const tolerance = TOLERANCE.softmax(rows.length + headDim, magnitude);
      expectClose(`unit ${unit} element ${i}`, got[unit * headDim + i]!, want, tolerance);
    }
  }
}

function attentionVariants(set: () => KernelSet): void {
  it.each(SHAPES)(
    "attention at %i, %i tokens, heads %i/%i of %i, window %s, capacity %i",
    async (...shape) => {
      const fixed = shape as (typeof SHAPES)[number];
      await attentionCase(set(), fixed, { spread: 1 });
      await attentionCase(set(), fixed, { spread: 8 });
    },
  );

  it.each(["f16", "q8_0"] as const)("attention over a cache of %s", async (cacheDtype) => {
    for (const shape of SHAPES) {
      if (cacheDtype === "q8_0" && shape[4] % 32 !== 0) continue;
      await attentionCase(set(), shape, { spread: 2, cacheDtype });
    }
  });

  it.each([
    { softCap: 2 },
    { softCap: 50 },
    { alibi: true },
    { sinks: true },
    { softCap: 5, alibi: true, sinks: true },
    { softCap: 30, sinks: true, cacheDtype: "f16" },
  ] as const)("attention with %o", async (extras) => {
    for (const shape of SHAPES) await attentionCase(set(), shape, { spread: 4, ...extras });
  });
}

/** Rope, key-value store and attention. */
export function attentionCases(set: () => KernelSet): void {
  ropeCase(set);
  storeCases(set);
  attentionVariants(set);
  ringCases(set);
}

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KernelSet, KernelSetOptions, WeightDtype } from "../src/index.js";
import { FlashlmError, isBlockDtype } from "../src/index.js";
import { attentionCases } from "./kernel-attention-cases.js";
import { copyCases } from "./kernel-copy-cases.js";
import { ffnCases } from "./kernel-ffn-cases.js";
import { expectClose, KernelFixture, oracleDot } from "./kernel-fixture.js";
import { quantisedCases } from "./kernel-quantised-cases.js";
import { startedCases } from "./kernel-started-cases.js";
import { vectorCases } from "./kernel-vector-cases.js";
import { TOLERANCE } from "./tolerance.js";

/** What the suite needs to know of a target. */
export interface KernelConformanceOptions {
  readonly name: string;
  /** Makes a set; the suite closes it. */
  create(options: KernelSetOptions): Promise<KernelSet>;
  /** Memory of the set that the suite makes; default 64 MiB. */
  readonly memoryBytes?: number;
  readonly threadCount?: number;
  /** Whether its sets start programs beside their caller with so many threads. Default false. */
  readonly starts?: boolean;
  /** Whether the memory of its sets copies by itself. Default false. */
  readonly copies?: boolean;
}

/** All weight dtypes. */
const DTYPES: readonly WeightDtype[] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
const SHAPES: readonly (readonly [rowCount: number, columnCount: number, tokenCount: number])[] = [
  [1, 1, 1],
  [1, 3, 2],
  [2, 4, 5],
  [3, 7, 1],
  [4, 8, 4],
  [5, 33, 3],
  [9, 32, 1],
  [6, 64, 6],
  [7, 96, 9],
  [65, 160, 1],
  [34, 576, 2],
];

/** Odd shapes do not exist for blocks of 32. */
function shapesOf(dtype: WeightDtype): typeof SHAPES {
  return isBlockDtype(dtype) ? SHAPES.filter(([, columns]) => columns % 32 === 0) : SHAPES;
}

function matmulCases(set: () => KernelSet): void {
  for (const dtype of DTYPES) {
    it.each(shapesOf(dtype))(`matmul ${dtype} %i x %i, %i tokens`, async (rows, columns, tokens) => {
      for (const [moving, bias, accumulate] of [
        [false, false, false],
        [true, true, true],
      ] as const) {
        const fixture = new KernelFixture(set(), rows * 1000 + columns + tokens);
        const weight = fixture.weight(dtype, rows, columns, moving);
        const source = fixture.vector(tokens * columns);
        const target = fixture.vector(tokens * rows);
        const offset = fixture.vector(rows);
        const matmul = {
          op: "matmul",
          tokenCount: fixture.word(tokens),
          weight: weight.ref,
          source: source.handle,
        } as const;
        const rest = bias ? { bias: moving ? fixture.moving(offset.handle) : offset.handle } : {};
        await fixture.run([{ ...matmul, target: target.handle, accumulate, ...rest }]);
        const got = fixture.read(target.handle, tokens * rows);
        for (let i = 0; i < got.length; i++) {
          const dot = oracleDot(weight.values, i % rows, source.values, Math.floor(i / rows), columns);
          const extra = (bias ? offset.values[i % rows]! : 0) + (accumulate ? target.values[i]! : 0);
          const tolerance = TOLERANCE.sum(columns, dot.absolute) + TOLERANCE.value(2 + Math.abs(dot.sum));
          expectClose(
            `element ${i}`,
            got[i]!,
            dot.sum + extra,
            bias ? tolerance : TOLERANCE.sum(columns, dot.absolute),
          );
        }
      }
    });
  }
}

function gatherCases(set: () => KernelSet): void {
  it.each(DTYPES)("gatherRows %s is exact", async (dtype) => {
    const fixture = new KernelFixture(set(), 7);
    const columns = isBlockDtype(dtype) ? 96 : 37;
    const table = fixture.weight(dtype, 11, columns, true);
    const ids = [10, 0, 3, 3, 7];
    const target = fixture.memory(ids.length * columns * 4);
    const tokenCount = fixture.word(ids.length);
    await fixture.run([
      { op: "gatherRows", tokenCount, table: table.ref, rowIds: fixture.list(ids), target },
    ]);
    const got = fixture.read(target, ids.length * columns);
    const want = ids.flatMap((id) => [...table.values.subarray(id * columns, (id + 1) * columns)]);
    expect([...got]).toEqual(want);
  });

  it.each(DTYPES)("gatherRows %s, scaled and accumulated", async (dtype) => {
    for (const [scale, accumulate] of [
      [-2.5, false],
      [undefined, true],
      [0.3, true],
    ] as const) {
      const fixture = new KernelFixture(set(), 9);
      const columns = isBlockDtype(dtype) ? 96 : 37;
      const table = fixture.weight(dtype, 5, columns);
      const ids = [4, 0, 4];
      const target = fixture.vector(ids.length * columns);
      const shape = { op: "gatherRows", tokenCount: fixture.word(ids.length), accumulate } as const;
      const places = { table: table.ref, rowIds: fixture.list(ids), target: target.handle };
      await fixture.run([{ ...shape, ...places, ...(scale === undefined ? {} : { scale }) }]);
      fixture.read(target.handle, target.values.length).forEach((got, i) => {
        const weight = table.values[ids[Math.floor(i / columns)]! * columns + (i % columns)]!;
        const held = accumulate ? target.values[i]! : 0;
        const want = held + Math.fround(scale ?? 1) * weight;
        expectClose(`element ${i}`, got, want, TOLERANCE.value(Math.abs(held) + Math.abs(want)));
      });
    }
  });

  it("gatherRows refuses a row id beyond the table", async () => {
    const fixture = new KernelFixture(set(), 8);
    const table = fixture.weight("f32", 3, 4);
    const target = fixture.memory(16);
    const op = {
      op: "gatherRows",
      tokenCount: fixture.word(1),
      table: table.ref,
      rowIds: fixture.word(3),
      target,
    } as const;
    await expect(fixture.run([op])).rejects.toMatchObject({ code: "KERNEL_SHAPE" });
  });
}

function normCases(set: () => KernelSet): void {
  it.each([
    ["rms", 1, 1, 1],
    ["rms", 64, 3, 2],
    ["layer", 7, 1, 5],
    ["layer", 96, 2, 3],
    ["rms", 577, 1, 1],
  ] as const)("norm %s of %i, %i rows per token, %i tokens", async (kind, dim, rowsPerToken, tokens) => {
    for (const inPlace of [false, true]) {
      const fixture = new KernelFixture(set(), dim + tokens);
      const count = dim * rowsPerToken * tokens;
      const source = fixture.vector(count, 3);
      const weight = fixture.vector(dim);
      const bias = fixture.vector(dim);
      const target = inPlace ? source.handle : fixture.memory(count * 4);
      const shape = {
        op: "norm",
        kind,
        tokenCount: fixture.word(tokens),
        rowsPerToken,
        dim,
        epsilon: 1e-5,
      } as const;
      const places = { source: source.handle, target, weight: fixture.moving(weight.handle) };
      await fixture.run([{ ...shape, ...places, ...(kind === "layer" ? { bias: bias.handle } : {}) }]);
      const got = fixture.read(target, count);
      for (let row = 0; row < rowsPerToken * tokens; row++) {
        const x = source.values.subarray(row * dim, (row + 1) * dim);
        const mean = kind === "layer" ? x.reduce((a, b) => a + b, 0) / dim : 0;
        const variance = x.reduce((a, b) => a + (b - mean) ** 2, 0) / dim;
        for (let i = 0; i < dim; i++) {
          const scaled = ((x[i]! - mean) / Math.sqrt(variance + 1e-5)) * weight.values[i]!;
          const want = scaled + (kind === "layer" ? bias.values[i]! : 0);
          expectClose(
            `row ${row} element ${i}`,
            got[row * dim + i]!,
            want,
            TOLERANCE.value(4 + Math.abs(scaled)),
          );
        }
      }
    }
  });
}

function crcCases(set: () => KernelSet): void {
  it.each([16, 32, 48, 512, 1840])("crc32c of records of %i bytes", async (lengthBytes) => {
    const fixture = new KernelFixture(set(), lengthBytes);
    const records = Array.from({ length: 5 }, () => fixture.memory(lengthBytes));
    const wants = records.map((record) => {
      const bytes = set().memory.bytes(record, lengthBytes);
      for (let i = 0; i < lengthBytes; i++) bytes[i] = fixture.random() * 256;
      return polynomialRemainder(bytes);
    });
    const order = [3, 0, 4, 1];
    const checksums = fixture.memory(16);
    const addresses = fixture.list(records.map(({ offsetBytes }) => offsetBytes / 16));
    const range = { orderBegin: fixture.word(1), orderEnd: fixture.word(4) };
    await fixture.run([
      { op: "crc32c", addresses, order: fixture.list(order), ...range, lengthBytes, checksums },
    ]);
    const got = set().memory.words(checksums, 4);
    expect([...got.subarray(1)]).toEqual([wants[0], wants[4], wants[1]]);
    expect(got[0]).toBe(0x7fff7fff);
  });

  it("crc32c of zeros is the published value", async () => {
    // RFC 3720, appendix B.4: 32 bytes of zeros.
    const fixture = new KernelFixture(set(), 1);
    const record = fixture.memory(32);
    set().memory.bytes(record, 32).fill(0);
    const checksums = fixture.memory(4);
    const range = { order: fixture.word(0), orderBegin: fixture.word(0), orderEnd: fixture.word(1) };
    const addresses = fixture.word(record.offsetBytes / 16);
    await fixture.run([{ op: "crc32c", addresses, ...range, lengthBytes: 32, checksums }]);
    expect(set().memory.words(checksums, 1)[0]).toBe(0x8a9136aa);
  });
}

/** CRC32C by long division over big integers: nothing in common with table methods. */
function polynomialRemainder(bytes: Uint8Array): number {
  const reversed = (value: number, width: number): bigint =>
    BigInt(`0b${value.toString(2).padStart(width, "0").split("").reverse().join("")}`);
  let message = 0n;
  for (const byte of bytes) message = (message << 8n) | reversed(byte, 8);
  const bits = BigInt(bytes.length * 8);
  // The initial register of ones flips the first 32 bits of the message; then room for the remainder.
  message = (message << 32n) ^ (0xffffffffn << bits);
  const divisor = 0x11edc6f41n;
  for (let bit = bits + 31n; bit >= 32n; bit--) if ((message >> bit) & 1n) message ^= divisor << (bit - 32n);
  return Number(reversed(Number(message), 32) ^ 0xffffffffn);
}

function refusalCases(set: () => KernelSet): void {
  it("compile refuses shapes that do not fit", () => {
    const fixture = new KernelFixture(set(), 5);
    const weight = fixture.weight("q8_0", 2, 32).ref;
    const { handle } = fixture.vector(64);
    const op = {
      op: "matmul",
      tokenCount: fixture.word(1),
      source: handle,
      target: handle,
      accumulate: false,
    } as const;
    const refused = [
      { ...weight, columnCount: 33 },
      { ...weight, rowCount: 0 },
      { ...weight, rowCount: 2 ** 30 },
    ];
    for (const wrong of refused) {
      expect(() => set().compile([{ ...op, weight: wrong }])).toThrow(
        expect.objectContaining({ code: "KERNEL_SHAPE" }),
      );
    }
  });

  it("an empty program and zero tokens do nothing", async () => {
    const fixture = new KernelFixture(set(), 6);
    await fixture.run([]);
    const weight = fixture.weight("f32", 2, 4).ref;
    const target = fixture.memory(8);
    const source = fixture.vector(4).handle;
    await fixture.run([
      { op: "matmul", tokenCount: fixture.word(0), weight, source, target, accumulate: false },
    ]);
    expect([...set().memory.words(target, 2)]).toEqual([0x7fff7fff, 0x7fff7fff]);
  });

  it("memory is zeroed, aligned and bounded", () => {
    const { memory } = set();
    for (const alignment of [64, 512, 4096]) {
      const handle = memory.allocate(100, alignment);
      expect(handle.offsetBytes % alignment).toBe(0);
      expect(memory.bytes(handle, 100).every((byte) => byte === 0)).toBe(true);
    }
    try {
      memory.allocate(2 ** 40);
      expect.fail("an allocation beyond the arena was accepted");
    } catch (error) {
      expect(FlashlmError.isInstance(error) && error.code).toBe("KERNEL_MEMORY");
    }
  });
}

/** Defines a vitest suite that every kernel target must pass: each op against a float64 oracle of the suite's own. */
export function kernelConformance(options: KernelConformanceOptions): void {
  describe(`kernel conformance: ${options.name}`, () => {
    let set: KernelSet | undefined;
    const current = (): KernelSet => set!;
    beforeAll(async () => {
      set = await options.create({
        memoryBytes: options.memoryBytes ?? 64 * 2 ** 20,
        threadCount: options.threadCount ?? 1,
      });
    });
    afterAll(async () => {
      await set?.close();
      await set?.close();
    });
    matmulCases(current);
    gatherCases(current);
    normCases(current);
    attentionCases(current);
    ffnCases(current);
    quantisedCases(current);
    vectorCases(current);
    crcCases(current);
    refusalCases(current);
    copyCases(current, options.copies === true);
    it(options.starts ? "starts programs" : "has nothing that starts programs", () => {
      expect(current().start !== undefined).toBe(options.starts === true);
    });
    // Last: they end with closing the set.
    if (options.starts) startedCases(current);
  });
}

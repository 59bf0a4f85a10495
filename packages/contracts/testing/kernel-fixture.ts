import { expect } from "vitest";
import type {
  DotPrecision,
  KernelOp,
  KernelSet,
  MemoryHandle,
  VectorRef,
  WeightDtype,
  WeightRef,
} from "../src/index.js";
import { ADDRESS_UNIT_BYTES, isBlockDtype, rowBytes } from "../src/index.js";
import { oracleRounded } from "./oracle-dtypes.js";
import { createPrng } from "./prng.js";

/** Fills memory around every operand: NaN as f32, f16 and bf16, so that a read beyond the end shows in the result. */
const GUARD_HALF = 0x7fff;
const GUARD_BYTES = 64;

/** A matrix in kernel memory and its values as the oracle knows them, `[rowCount, columnCount]`. */
export interface FixtureWeight {
  readonly ref: WeightRef;
  readonly values: Float64Array;
}

/** A f32 vector in kernel memory and a copy of what was written. */
export interface FixtureVector {
  readonly handle: MemoryHandle;
  readonly values: Float64Array;
}

/** Writes one weight (or the block that begins at it) and returns the values that it stands for. */
function encode(dtype: WeightDtype, view: DataView, at: number, random: () => number): number[] {
  const bits = Math.floor(random() * 65536);
  switch (dtype) {
    case "f32": {
      const value = Math.fround(random() * 2 - 1);
      view.setFloat32(at, value, true);
      return [value];
    }
    case "f16": {
      // Exponents 0 (subnormal) to 15, so that values stay below 2.
      const exponent = (bits >> 10) & 15;
      const mantissa = bits & 1023;
      view.setUint16(at, (bits & 0x8000) | (exponent << 10) | mantissa, true);
      const size = exponent === 0 ? mantissa / 2 ** 24 : (1024 + mantissa) * 2 ** (exponent - 25);
      return [bits & 0x8000 ? -size : size];
    }
    case "bf16": {
      const exponent = 110 + (bits & 15);
      const mantissa = (bits >> 4) & 127;
      view.setUint16(at, (bits & 0x8000) | (exponent << 7) | mantissa, true);
      const size = (128 + mantissa) * 2 ** (exponent - 134);
      return [bits & 0x8000 ? -size : size];
    }
    case "q8_0":
    case "q4_0": {
      const exponent = (dtype === "q8_0" ? 6 : 10) + (bits & 3);
      const mantissa = (bits >> 4) & 1023;
      const scale = (bits & 0x8000 ? -1 : 1) * (1024 + mantissa) * 2 ** (exponent - 25);
      view.setUint16(at, (bits & 0x8000) | (exponent << 10) | mantissa, true);
      const range = dtype === "q8_0" ? 256 : 16;
      const numbers = Array.from({ length: 32 }, () => Math.floor(random() * range) - range / 2);
      for (let j = 0; j < 32; j++) {
        if (dtype === "q8_0") view.setInt8(at + 2 + j, numbers[j]!);
        else if (j < 16) view.setUint8(at + 2 + j, numbers[j]! + 8 + (numbers[j + 16]! + 8) * 16);
      }
      return numbers.map((number) => number * scale);
    }
    case "q4_1": {
      const mantissa = (bits >> 4) & 1023;
      const exponent = 10 + (bits & 3);
      const scale = (1024 + mantissa) * 2 ** (exponent - 25);
      view.setUint16(at, (exponent << 10) | mantissa, true);
      // The minimum is -8 scales, exactly: an f16 whose exponent is 3 higher.
      view.setUint16(at + 2, 0x8000 | ((exponent + 3) << 10) | mantissa, true);
      const numbers = Array.from({ length: 32 }, () => Math.floor(random() * 16));
      for (let j = 0; j < 16; j++) view.setUint8(at + 4 + j, numbers[j]! + numbers[j + 16]! * 16);
      return numbers.map((number) => (number - 8) * scale);
    }
  }
}

/** Operands in the memory of one kernel set, each between guards. One per test case. */
export class KernelFixture {
  readonly random: () => number;
  readonly set: KernelSet;
  /** Bytes by which operands are moved off their alignment: a multiple of 4 for vectors; weights move half as far where their dtype allows. */
  readonly shiftBytes: number;
  readonly #guards: Uint16Array[] = [];

  constructor(set: KernelSet, seed: number, shiftBytes: number = 0) {
    this.set = set;
    this.shiftBytes = shiftBytes;
    this.random = createPrng(seed);
  }

  /** Memory between guards, filled with guard words itself. */
  memory(lengthBytes: number, shiftBytes: number = this.shiftBytes): MemoryHandle {
    const first = GUARD_BYTES + shiftBytes;
    const last = first + Math.ceil(lengthBytes / 2) * 2;
    const wholeBytes = Math.ceil((last + GUARD_BYTES) / 4) * 4;
    const start = this.set.memory.allocate(wholeBytes, 64);
    const bytes = this.set.memory.bytes(start, wholeBytes);
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, wholeBytes / 2);
    halves.fill(GUARD_HALF);
    this.#guards.push(halves.subarray(0, first / 2), halves.subarray(last / 2));
    return { arenaId: start.arenaId, offsetBytes: start.offsetBytes + first };
  }

  /** One word. */
  word(value: number): MemoryHandle {
    return this.list([value]);
  }

  /** A list of u32. */
  list(values: readonly number[]): MemoryHandle {
    const handle = this.memory(Math.max(values.length, 1) * 4, 0);
    this.set.memory.words(handle, values.length).set(values);
    return handle;
  }

  /** Random f32 within -size .. size. */
  vector(count: number, size: number = 1): FixtureVector {
    const handle = this.memory(count * 4);
    const floats = this.set.memory.floats(handle, count);
    for (let i = 0; i < count; i++) floats[i] = (this.random() * 2 - 1) * size;
    return { handle, values: Float64Array.from(floats) };
  }

  /** A random matrix; `moving` reaches it through an address word. */
  weight(dtype: WeightDtype, rowCount: number, columnCount: number, moving: boolean = false): FixtureWeight {
    const lengthBytes = rowCount * rowBytes(dtype, columnCount);
    const handle = this.memory(lengthBytes, dtype === "f32" ? this.shiftBytes : this.shiftBytes / 2);
    const values = this.fillWeights(dtype, handle, rowCount * columnCount);
    const base = moving ? this.moving(handle) : handle;
    return { ref: { dtype, rowCount, columnCount, base }, values };
  }

  /** Writes random weights and returns their values. */
  fillWeights(dtype: WeightDtype, handle: MemoryHandle, count: number): Float64Array {
    const bytes = this.set.memory.bytes(handle, rowBytes(dtype, count));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const values: number[] = [];
    for (let at = 0; values.length < count; at = rowBytes(dtype, values.length)) {
      values.push(...encode(dtype, view, at, this.random));
    }
    return Float64Array.from(values);
  }

  /** The same place, named by an address word with an offset of 32 bytes or a little more. */
  moving(handle: MemoryHandle): VectorRef {
    const offsetBytes = 32 + (handle.offsetBytes % ADDRESS_UNIT_BYTES);
    return {
      addressWord: this.word((handle.offsetBytes - offsetBytes) / ADDRESS_UNIT_BYTES),
      offsetBytes,
    };
  }

  /** Runs ops and checks that no guard was overwritten. */
  async run(ops: readonly KernelOp[]): Promise<void> {
    await this.set.run(this.set.compile(ops));
    for (const guard of this.#guards) expect(guard.every((half) => half === GUARD_HALF)).toBe(true);
  }

  /** What a vector holds now. */
  read(handle: MemoryHandle, count: number): Float64Array {
    return Float64Array.from(this.set.memory.floats(handle, count));
  }
}

/** Fails when a value is further than its tolerance from the oracle's. */
export function expectClose(label: string, got: number, want: number, tolerance: number): void {
  if (Math.abs(got - want) <= tolerance || Object.is(got, want)) return;
  expect.fail(`${label}: expected ${want} within ${tolerance}, got ${got} (off by ${Math.abs(got - want)})`);
}

/** Dot product and sum of absolute products of a row and a vector, in f64. */
export function oracleDot(
  weights: Float64Array,
  row: number,
  source: Float64Array,
  token: number,
  columnCount: number,
): { readonly sum: number; readonly absolute: number } {
  let sum = 0;
  let absolute = 0;
  for (let column = 0; column < columnCount; column++) {
    const product = weights[row * columnCount + column]! * source[token * columnCount + column]!;
    sum += product;
    absolute += Math.abs(product);
  }
  return { sum, absolute };
}

/**
 * As `oracleDot`, in the precision that was asked for: dots of int8 blocks see a rounded source. `absolute` then bounds
 * what a target may add up within a block, see `TOLERANCE.blocks`.
 */
export function oraclePrecise(
  precision: DotPrecision | undefined,
  dtype: WeightDtype,
  weights: Float64Array,
  row: number,
  source: Float64Array,
  token: number,
  columnCount: number,
): { readonly sum: number; readonly absolute: number } {
  if (precision !== "q8" || !isBlockDtype(dtype)) {
    return oracleDot(weights, row, source, token, columnCount);
  }
  const rounded = oracleRounded(source.subarray(token * columnCount, (token + 1) * columnCount));
  const { sum } = oracleDot(weights.subarray(row * columnCount), 0, rounded, 0, columnCount);
  let absolute = 0;
  for (let first = 0; first < columnCount; first += 32) {
    const block = weights.subarray(row * columnCount + first, row * columnCount + first + 32);
    const largest = block.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
    for (let i = first; i < first + 32; i++) absolute += 2 * largest * Math.abs(rounded[i]!);
  }
  return { sum, absolute };
}

/** erf by trapezoids of its integral, fine enough for f64 to about 1e-13. */
function oracleErf(z: number): number {
  const steps = 4000;
  const end = Math.min(Math.abs(z), 7);
  let sum = 0.5 * (1 + Math.exp(-end * end));
  for (let i = 1; i < steps; i++) sum += Math.exp(-(((i * end) / steps) ** 2));
  // First Euler-Maclaurin correction of the trapezoid rule.
  const h = end / steps;
  const area = h * sum + ((h * h) / 12) * 2 * end * Math.exp(-end * end);
  return Math.sign(z) * (2 / Math.sqrt(Math.PI)) * area;
}

/** Activations in f64, by their definitions. */
export function oracleActivation(name: string, threshold: number, x: number): number {
  const forms: Record<string, () => number> = {
    silu: () => x / (1 + Math.exp(-x)),
    relu: () => Math.max(0, x),
    relu2: () => Math.max(0, x) ** 2,
    gelu: () => 0.5 * x * (1 + oracleErf(x / Math.SQRT2)),
    gelu_tanh: () => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  };
  const result = forms[name]!();
  return threshold > 0 && result <= threshold ? 0 : result;
}

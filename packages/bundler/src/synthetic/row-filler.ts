import { encodeRow } from "../codecs/encode-row.js";
import { halfBits } from "../codecs/half.js";
import type { FillRecipe } from "./fill-recipe.js";
import { normalQuantiles } from "./normal-distribution.js";
import { combineSeeds, generatorState } from "./random.js";
import { digitsOf } from "./token-code.js";

/** Dtypes that synthetic checkpoints are written in. */
export type SyntheticDtype = "f32" | "f16" | "bf16" | "q8_0";

/** Elements of a block of q8_0, and its bytes: a binary16 scale and 32 signed bytes. */
const BLOCK_ELEMENTS = 32;
const BLOCK_BYTES = 34;
/** Blocks reach this many deviations; of 32 normal values the largest has 2.1 on average, so that few are cut. */
const BLOCK_REACH = 4.2;

/** Bytes of `elementCount` weights. */
export function elementBytes(dtype: SyntheticDtype, elementCount: number): number {
  if (dtype === "q8_0") return (elementCount / BLOCK_ELEMENTS) * BLOCK_BYTES;
  return elementCount * (dtype === "f32" ? 4 : 2);
}

/** How rows of one tensor are filled. */
interface NormalFill {
  readonly deviation: number;
  readonly dtype: SyntheticDtype;
  readonly fill: (seed: number, target: Uint8Array) => void;
}

/** Fills rows of tensors. Each row depends on the seed, its tensor and its index only, so that any thread may fill it. */
export class RowFiller {
  readonly #quantiles: Float32Array = normalQuantiles();
  readonly #tables: Map<string, Uint16Array | Float32Array | Int8Array> = new Map();
  readonly #directions: Map<string, Float32Array> = new Map();
  readonly #one: Float32Array = new Float32Array(1);
  #lastFill: NormalFill | null = null;

  /** Writes row `row` of a tensor into `target`, which has exactly its bytes and begins on a multiple of 4. */
  fill(
    recipe: FillRecipe,
    dtype: SyntheticDtype,
    seed: number,
    row: number,
    columnCount: number,
    target: Uint8Array,
  ): void {
    switch (recipe.kind) {
      case "constant":
        encodeRow(dtype, new Float32Array(columnCount).fill(recipe.value), target);
        return;
      case "values":
        encodeRow(dtype, recipe.values.subarray(row * columnCount, (row + 1) * columnCount), target);
        return;
      case "embedding":
        encodeRow(dtype, this.#embeddingRow(recipe, seed, row, columnCount), target);
        return;
      case "normal":
        if (recipe.zeroRow === row) target.fill(0);
        else this.#normalRow(recipe.deviation, dtype, combineSeeds(seed, row), target);
        if (recipe.column !== undefined)
          this.#patch(dtype, target, recipe.column.index, recipe.column.values[row]!);
    }
  }

  #normalRow(deviation: number, dtype: SyntheticDtype, seed: number, target: Uint8Array): void {
    // Rows of one tensor follow one another: naming a table takes longer than filling a short row from it.
    const lastFill = this.#lastFill;
    if (lastFill?.deviation !== deviation || lastFill.dtype !== dtype)
      this.#lastFill = { deviation, dtype, fill: this.#normalFill(deviation, dtype) };
    this.#lastFill!.fill(seed, target);
  }

  #normalFill(deviation: number, dtype: SyntheticDtype): (seed: number, target: Uint8Array) => void {
    if (dtype === "f32") {
      const table = this.#floatTable(deviation);
      return (seed, target) => fillWords(table, seed, target);
    }
    if (dtype === "q8_0") {
      const table = this.#byteTable();
      const scaleBits = halfBits((deviation * BLOCK_REACH) / 127);
      return (seed, target) => fillBlocks(table, scaleBits, seed, target);
    }
    const table = this.#bitTable(deviation, dtype);
    return (seed, target) => fillPairs(table, seed, target);
  }

  #patch(dtype: SyntheticDtype, target: Uint8Array, index: number, value: number): void {
    if (dtype === "q8_0") {
      // A block of its own scale: the value and its neighbours at the precision that the value leaves them.
      const block = Math.floor(index / BLOCK_ELEMENTS);
      const bytes = target.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      const values = new Float32Array(BLOCK_ELEMENTS);
      values[index % BLOCK_ELEMENTS] = value;
      encodeRow("q8_0", values, bytes);
      return;
    }
    const lengthBytes = elementBytes(dtype, 1);
    this.#one[0] = value;
    encodeRow(dtype, this.#one, target.subarray(index * lengthBytes, (index + 1) * lengthBytes));
  }

  #embeddingRow(
    recipe: Extract<FillRecipe, { kind: "embedding" }>,
    seed: number,
    row: number,
    columnCount: number,
  ): Float32Array {
    const { code, deviation, lane } = recipe;
    const values = new Float32Array(columnCount);
    const noise = 1 - code.shares.reduce((sum, share) => sum + share, 0);
    fillWords(
      this.#floatTable(deviation * Math.sqrt(noise)),
      combineSeeds(seed, row),
      new Uint8Array(values.buffer),
    );
    for (const [digit, value] of digitsOf(code, row).entries()) {
      const direction = this.#direction(seed, digit, value, code.base, columnCount);
      const scale = deviation * Math.sqrt(code.shares[digit]!);
      for (let column = 0; column < columnCount; column++) values[column]! += scale * direction[column]!;
    }
    if (lane !== null) values[lane.index] = lane.value;
    return values;
  }

  /** The direction of a digit's value; those of one digit add up to nothing, so that no token is special. */
  #direction(seed: number, digit: number, value: number, base: number, columnCount: number): Float32Array {
    const key = `${seed}.${digit}`;
    let all = this.#directions.get(key);
    if (all === undefined) {
      all = new Float32Array(base * columnCount);
      fillWords(
        this.#floatTable(Math.sqrt(base / (base - 1))),
        combineSeeds(seed, 0x0d19, digit),
        new Uint8Array(all.buffer),
      );
      for (let column = 0; column < columnCount; column++) {
        let mean = 0;
        for (let row = 0; row < base; row++) mean += all[row * columnCount + column]! / base;
        for (let row = 0; row < base; row++) all[row * columnCount + column]! -= mean;
      }
      this.#directions.set(key, all);
    }
    return all.subarray(value * columnCount, (value + 1) * columnCount);
  }

  #table<T extends Uint16Array | Float32Array | Int8Array>(key: string, make: () => T): T {
    let table = this.#tables.get(key) as T | undefined;
    if (table === undefined) {
      table = make();
      this.#tables.set(key, table);
    }
    return table;
  }

  #floatTable(deviation: number): Float32Array {
    return this.#table(`f32 ${deviation}`, () => this.#quantiles.map((value) => value * deviation));
  }

  #bitTable(deviation: number, dtype: "f16" | "bf16"): Uint16Array {
    return this.#table(`${dtype} ${deviation}`, () => {
      const bits = new Uint16Array(this.#quantiles.length);
      encodeRow(dtype, this.#floatTable(deviation), new Uint8Array(bits.buffer));
      return bits;
    });
  }

  #byteTable(): Int8Array {
    return this.#table("q8_0", () =>
      Int8Array.from(this.#quantiles, (value) =>
        Math.max(-127, Math.min(127, Math.round((value * 127) / BLOCK_REACH))),
      ),
    );
  }
}

/** Fills `target` with 16-bit entries of `table`, two per random word. Unrolled: the four words of the state take turns as the newest. */
function fillPairs(table: Uint16Array, seed: number, target: Uint8Array): void {
  const words = new Int32Array(target.buffer, target.byteOffset, target.byteLength >>> 2);
  let [x, y, z, w] = generatorState(seed);
  const whole = words.length - (words.length % 4);
  for (let index = 0; index < whole; index += 4) {
    let mixed = x ^ (x << 11);
    x = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = y ^ (y << 11);
    y = x ^ (x >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = z ^ (z << 11);
    z = y ^ (y >>> 19) ^ mixed ^ (mixed >>> 8);
    mixed = w ^ (w << 11);
    w = z ^ (z >>> 19) ^ mixed ^ (mixed >>> 8);
    words[index] = table[x & 0xffff]! | (table[x >>> 16]! << 16);
    words[index + 1] = table[y & 0xffff]! | (table[y >>> 16]! << 16);
    words[index + 2] = table[z & 0xffff]! | (table[z >>> 16]! << 16);
    words[index + 3] = table[w & 0xffff]! | (table[w >>> 16]! << 16);
  }
  for (let index = whole; index < words.length; index++) {
    const mixed = x ^ (x << 11);
    x = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    words[index] = table[x & 0xffff]! | (table[x >>> 16]! << 16);
    w = x;
  }
}

/** Fills `target` with f32 entries of `table`, two per random word. */
function fillWords(table: Float32Array, seed: number, target: Uint8Array): void {
  const floats = new Float32Array(target.buffer, target.byteOffset, target.byteLength >>> 2);
  let [x, y, z, w] = generatorState(seed);
  for (let index = 0; index < floats.length; index += 2) {
    const mixed = x ^ (x << 11);
    x = y;
    y = z;
    z = w;
    w = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
    floats[index] = table[w & 0xffff]!;
    if (index + 1 < floats.length) floats[index + 1] = table[w >>> 16]!;
  }
}

/** Fills `target` with q8_0 blocks of one scale. */
function fillBlocks(table: Int8Array, scaleBits: number, seed: number, target: Uint8Array): void {
  let [x, y, z, w] = generatorState(seed);
  for (let at = 0; at < target.length; at += BLOCK_BYTES) {
    target[at] = scaleBits;
    target[at + 1] = scaleBits >>> 8;
    for (let index = at + 2; index < at + BLOCK_BYTES; index += 2) {
      const mixed = x ^ (x << 11);
      x = y;
      y = z;
      z = w;
      w = w ^ (w >>> 19) ^ mixed ^ (mixed >>> 8);
      target[index] = table[w & 0xffff]!;
      target[index + 1] = table[w >>> 16]!;
    }
  }
}

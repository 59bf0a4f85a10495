import { encodeRow } from "../codecs/encode-row.js";
import { halfBits } from "../codecs/half.js";
import { BLOCK_BYTES, BLOCK_ELEMENTS, fillBlocks, fillPairs, fillSums, fillWords } from "./bulk-fills.js";
import { DigitDirections } from "./digit-directions.js";
import type { EmbeddingRecipe, FillRecipe } from "./fill-recipe.js";
import { normalQuantiles } from "./normal-distribution.js";
import { combineSeeds } from "./random.js";

/** Dtypes that synthetic checkpoints are written in. */
export type SyntheticDtype = "f32" | "f16" | "bf16" | "q8_0";

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

/** How rows of one embedding are filled. */
interface EmbeddingFill {
  readonly noise: Float32Array;
  readonly directions: DigitDirections;
  /** The row in the making, `[columnCount]`. */
  readonly values: Float32Array;
}

/** Fills rows of tensors. Each row depends on the seed, its tensor and its index only, so that any thread may fill it. */
export class RowFiller {
  readonly #quantiles: Float32Array = normalQuantiles();
  readonly #tables: Map<string, Uint16Array | Float32Array | Int8Array> = new Map();
  readonly #embeddings: Map<number, EmbeddingFill> = new Map();
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

  #embeddingRow(recipe: EmbeddingRecipe, seed: number, row: number, columnCount: number): Float32Array {
    const { noise, directions, values } = this.#embeddingFill(recipe, seed, columnCount);
    directions.select(row);
    fillSums(noise, combineSeeds(seed, row), directions.first, directions.others, values);
    if (recipe.lane !== null) values[recipe.lane.index] = recipe.lane.value;
    return values;
  }

  #embeddingFill(recipe: EmbeddingRecipe, seed: number, columnCount: number): EmbeddingFill {
    let fill = this.#embeddings.get(seed);
    if (fill === undefined) {
      const { code, deviation } = recipe;
      const noiseShare = 1 - code.shares.reduce((sum, share) => sum + share, 0);
      fill = {
        noise: this.#floatTable(deviation * Math.sqrt(noiseShare)),
        directions: new DigitDirections(recipe, seed, columnCount, (spread, matrixSeed, target) =>
          fillWords(this.#floatTable(spread), matrixSeed, new Uint8Array(target.buffer)),
        ),
        values: new Float32Array(columnCount),
      };
      this.#embeddings.set(seed, fill);
    }
    return fill;
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
    return this.#table(`f32 ${deviation}`, () => {
      const table = new Float32Array(this.#quantiles.length);
      for (let index = 0; index < table.length; index++) table[index] = this.#quantiles[index]! * deviation;
      return table;
    });
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

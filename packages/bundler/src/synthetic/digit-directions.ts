import type { EmbeddingRecipe } from "./fill-recipe.js";
import { combineSeeds } from "./random.js";
import { digitsOf } from "./token-code.js";

/** Fills a matrix with normal values of a deviation. */
type NormalMatrix = (deviation: number, seed: number, target: Float32Array) => void;

/**
 * What the digits of a token add to its row of an embedding. Rows that follow one another differ in the first digit
 * and share the others, whose sum is therefore kept from row to row.
 */
export class DigitDirections {
  readonly #recipe: EmbeddingRecipe;
  readonly #columnCount: number;
  /** Per digit `[base, columnCount]`, scaled to its share of the variance. */
  readonly #directions: readonly Float64Array[];
  readonly #others: Float64Array;
  #othersKey = "";
  #firstDigit = 0;

  constructor(recipe: EmbeddingRecipe, seed: number, columnCount: number, fill: NormalMatrix) {
    const { code, deviation } = recipe;
    this.#recipe = recipe;
    this.#columnCount = columnCount;
    this.#others = new Float64Array(columnCount);
    this.#directions = code.shares.map((share, digit) => {
      const matrix = new Float32Array(code.base * columnCount);
      fill(Math.sqrt(code.base / (code.base - 1)), combineSeeds(seed, 0x0d19, digit), matrix);
      centre(matrix, code.base, columnCount);
      return scaled(matrix, deviation * Math.sqrt(share));
    });
  }

  /** Makes {@link first} and {@link others} those of a row. */
  select(row: number): void {
    const [first = 0, ...others] = digitsOf(this.#recipe.code, row);
    this.#firstDigit = first;
    const key = others.join();
    if (key === this.#othersKey) return;
    this.#othersKey = key;
    this.#others.fill(0);
    for (const [index, value] of others.entries()) {
      const direction = this.#direction(index + 1, value);
      for (let column = 0; column < direction.length; column++) this.#others[column]! += direction[column]!;
    }
  }

  /** The first digit's direction, `[columnCount]`. Borrowed. */
  get first(): Float64Array {
    return this.#direction(0, this.#firstDigit);
  }

  /** Sum of the other digits' directions, `[columnCount]`. Borrowed until another row is selected. */
  get others(): Float64Array {
    return this.#others;
  }

  #direction(digit: number, value: number): Float64Array {
    return this.#directions[digit]!.subarray(value * this.#columnCount, (value + 1) * this.#columnCount);
  }
}

/** Directions of one digit add up to nothing, so that no token is special. */
function centre(matrix: Float32Array, rowCount: number, columnCount: number): void {
  const means = new Float64Array(columnCount);
  for (let at = 0; at < matrix.length; at += columnCount)
    for (let column = 0; column < columnCount; column++) means[column]! += matrix[at + column]! / rowCount;
  for (let at = 0; at < matrix.length; at += columnCount)
    for (let column = 0; column < columnCount; column++) matrix[at + column]! -= means[column]!;
}

function scaled(matrix: Float32Array, scale: number): Float64Array {
  const target = new Float64Array(matrix.length);
  for (let index = 0; index < matrix.length; index++) target[index] = scale * matrix[index]!;
  return target;
}

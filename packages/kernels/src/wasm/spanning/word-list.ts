import type { Segments } from "./segments.js";

/** Words in one of the memories, from an address on. */
export class WordList {
  readonly #words: Uint32Array;
  readonly #first: number;

  constructor(segments: Segments, address: number) {
    this.#words = segments.words[segments.indexOf(address)]!;
    this.#first = segments.localOf(address) / 4;
  }

  /** What memory holds now; 0 beyond its end. */
  at(index: number): number {
    return this.#words[this.#first + index] ?? 0;
  }

  set(index: number, value: number): void {
    this.#words[this.#first + index] = value;
  }
}

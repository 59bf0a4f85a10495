import { STEP_OUTSIDE } from "@flashlm/contracts";

/** Neurons that any token of a chunk wants, ascending, and for the cache which of the tokens was the last to want each. */
export class TokenUnion {
  readonly ids: Uint32Array;
  /** See `NeuronCache.acquire`; filled where a part of the chunk enters the window. */
  readonly steps: Uint8Array;
  readonly #byNeuron: Uint8Array;

  constructor(neuronCount: number) {
    this.ids = new Uint32Array(neuronCount);
    this.steps = new Uint8Array(neuronCount);
    this.#byNeuron = new Uint8Array(neuronCount);
  }

  /**
   * Fills `ids` (and `steps`, with 0 < windowTokens) and returns their number.
   *
   * @param mask - u8 `[tokenCount, neuronCount]`, 1 where a token wants a neuron.
   * @param windowTokens - the first tokens of the chunk, whose neurons enter the window; fewer than 255.
   */
  of(mask: Uint8Array, tokenCount: number, windowTokens: number): number {
    if (tokenCount === 1) return this.#ofOne(mask, windowTokens > 0 ? 0 : STEP_OUTSIDE);
    const wanted = this.#byNeuron;
    const neuronCount = wanted.length;
    // 0: unwanted; s + 1: last wanted by token s of the window; STEP_OUTSIDE: by later tokens only.
    wanted.fill(0);
    for (let token = 0; token < tokenCount; token++) {
      const row = token * neuronCount;
      if (token < windowTokens) {
        for (let id = 0; id < neuronCount; id++) if (mask[row + id] !== 0) wanted[id] = token + 1;
      } else {
        for (let id = 0; id < neuronCount; id++)
          wanted[id] = (wanted[id] as number) || (mask[row + id] as number) * STEP_OUTSIDE;
      }
    }
    let count = 0;
    for (let id = 0; id < neuronCount; id++) {
      const code = wanted[id] as number;
      if (code === 0) continue;
      this.ids[count] = id;
      this.steps[count++] = code === STEP_OUTSIDE ? STEP_OUTSIDE : code - 1;
    }
    return count;
  }

  /** One token, as in decoding: most neurons are unwanted, and skipped several at a time where the mask allows it. */
  #ofOne(mask: Uint8Array, step: number): number {
    const { ids, steps } = this;
    const neuronCount = this.#byNeuron.length;
    const wordCount = mask.byteOffset % 4 === 0 ? neuronCount >> 2 : 0;
    const words = new Uint32Array(mask.buffer, wordCount > 0 ? mask.byteOffset : 0, wordCount);
    let count = 0;
    for (let word = 0; word < wordCount; word++) {
      if (words[word] === 0) continue;
      for (let id = word * 4; id < word * 4 + 4; id++) if (mask[id] !== 0) ids[count++] = id;
    }
    for (let id = wordCount * 4; id < neuronCount; id++) if (mask[id] !== 0) ids[count++] = id;
    steps.fill(step, 0, count);
    return count;
  }
}

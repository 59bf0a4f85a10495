/** Spreads the bits of a 32-bit word (the finaliser of MurmurHash3): near inputs give unrelated outputs. */
export function mixBits(word: number): number {
  let bits = word | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** A seed that depends on all of `parts`, in order. */
export function combineSeeds(...parts: readonly number[]): number {
  return parts.reduce(
    (seed, part) => mixBits((Math.imul(seed, 0x9e3779b1) + part + 0x6d2b79f5) | 0),
    0x2545f491,
  );
}

/** A seed of its own for each name. */
export function seedOfName(seed: number, name: string): number {
  let hash = seed >>> 0;
  for (let index = 0; index < name.length; index++) hash = combineSeeds(hash, name.charCodeAt(index));
  return hash;
}

/** The four state words of an xorshift128 generator (Marsaglia, 2003) for a seed; never all zero. */
export function generatorState(seed: number): readonly [number, number, number, number] {
  return [
    mixBits(seed + 0x9e3779b9) | 1,
    mixBits(seed + 0x3c6ef372),
    mixBits(seed + 0xdaa66d2b),
    mixBits(seed + 0x78dde6e4),
  ];
}

/** xorshift128, for the few numbers that are drawn one by one; bulk fills keep the same state in local variables. */
export class RandomGenerator {
  #x: number;
  #y: number;
  #z: number;
  #w: number;

  constructor(seed: number) {
    [this.#x, this.#y, this.#z, this.#w] = generatorState(seed);
    // The first outputs of near states are alike.
    for (let round = 0; round < 8; round++) this.word();
  }

  /** 32 random bits, unsigned. */
  word(): number {
    const mixed = this.#x ^ (this.#x << 11);
    this.#x = this.#y;
    this.#y = this.#z;
    this.#z = this.#w;
    this.#w = this.#w ^ (this.#w >>> 19) ^ mixed ^ (mixed >>> 8);
    return this.#w >>> 0;
  }

  /** Uniform in [0, 1). */
  unit(): number {
    return this.word() / 2 ** 32;
  }

  /** A whole number from 0 to below `count`. */
  below(count: number): number {
    return Math.floor(this.unit() * count);
  }
}

/** A stream of random numbers that depends on its seed alone. */
export interface RandomSource {
  /** Next number in [0, 1), a multiple of 2^-53. */
  next(): number;
}

function mix(state: number): number {
  let z = (state + 0x9e3779b9) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return z ^ (z >>> 15);
}

/** Makes a generator (xoshiro128**) from a seed, a non-negative safe integer. Same seed, same numbers, on every machine. */
export function createRandomSource(seed: number): RandomSource {
  let a = mix(seed | 0);
  let b = mix(a ^ Math.floor(seed / 0x1_0000_0000));
  let c = mix(b);
  let d = mix(c) | 1;
  const draw = (): number => {
    const scaled = Math.imul(b, 5);
    const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  return { next: () => ((draw() >>> 5) * 0x400_0000 + (draw() >>> 6)) / 0x20_0000_0000_0000 };
}

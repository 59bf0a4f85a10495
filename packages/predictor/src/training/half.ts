/** f32 values as IEEE 754 half floats, rounded to nearest even; what is too large becomes the largest finite one, since a head must not hold infinities. */
export function toHalfInto(source: Float32Array, target: Uint16Array): void {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let index = 0; index < bits.length; index++) {
    const word = bits[index]!;
    const sign = (word >>> 16) & 0x8000;
    const magnitude = word & 0x7fffffff;
    target[index] = sign | halfOfMagnitude(magnitude);
  }
}

function halfOfMagnitude(magnitude: number): number {
  const exponent = (magnitude >>> 23) - 112;
  if (exponent >= 31) return 0x7bff;
  const subnormal = exponent <= 0;
  if (subnormal && exponent < -10) return 0;
  // Of a subnormal the leading one is written out, and more bits fall away.
  const mantissa = (magnitude & 0x7fffff) | (subnormal ? 0x800000 : 0);
  const shift = subnormal ? 14 - exponent : 13;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const up = rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0;
  const result = (subnormal ? 0 : exponent << 10) + kept + up;
  return result < 0x7c00 ? result : 0x7bff;
}

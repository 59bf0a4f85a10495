function buildHalfTable(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const mantissa = bits & 1023;
    if (exponent === 0) table[bits] = sign * mantissa * 2 ** -24;
    else if (exponent < 31) table[bits] = sign * (1024 + mantissa) * 2 ** (exponent - 25);
    else table[bits] = mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  }
  return table;
}

/** The value of every binary16 bit pattern, `[65536]`. Borrowed: do not write to it. */
export const HALF_VALUES: Float32Array = /* @__PURE__ */ buildHalfTable();

const conversionFloat: Float32Array = new Float32Array(1);
const conversionBits: Uint32Array = new Uint32Array(conversionFloat.buffer);

/**
 * Rounds the bits of a binary32 to binary16, to nearest even; overflow becomes infinity.
 * @param bits - bit pattern of a binary32, unsigned.
 * @returns bit pattern of the binary16.
 */
export function halfBitsOfFloatBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) {
    if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
    return sign | 0x7c00;
  }
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const lost = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (kept + (lost > half || (lost === half && (kept & 1) === 1) ? 1 : 0));
}

/** Rounds a number to binary32 and then to binary16, to nearest even. @returns its bit pattern. */
export function halfBits(value: number): number {
  conversionFloat[0] = value;
  return halfBitsOfFloatBits(conversionBits[0]!);
}

/** The number that f16 bits stand for. */
export function oracleHalfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const size = exponent === 0 ? (bits & 1023) / 2 ** 24 : (1024 + (bits & 1023)) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** f16 bits nearest to a number, ties to the even one: the two neighbours are found by search and compared. */
export function oracleHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  // The binade above the largest finite number decides what becomes infinity.
  let [low, high] = [0, 0x7c00];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (oracleHalfValue(middle) <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - oracleHalfValue(low), oracleHalfValue(high) - size];
  const nearer = below < above ? low : above < below ? high : low % 2 === 0 ? low : high;
  return sign | nearer;
}

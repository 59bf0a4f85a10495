/** Scores are non-negative f32, whose bits order like the numbers: 31 bits, taken as 11 + 10 + 10. */
const FIRST_SHIFT = 20;
const SECOND_SHIFT = 10;
const DIGIT_MASK = 0x3ff;
const MAGNITUDE_MASK = 0x7fffffff;

/** Highest digit such that at least `wantedCount` entries lie at or above it. */
function thresholdDigit(histogram: Uint32Array, wantedCount: number): number {
  let reachedCount = 0;
  for (let digit = histogram.length - 1; digit > 0; digit--) {
    reachedCount += histogram[digit]!;
    if (reachedCount >= wantedCount) return digit;
  }
  return 0;
}

/**
 * Radix selection of the highest scores: two passes over the row, then two over the few neurons that share the
 * threshold's top digit. Its scratch is allocated once; selecting allocates nothing. The sign is ignored and NaN ranks
 * above infinity, so that a broken score reaches the output instead of vanishing.
 */
export class TopSelector {
  readonly #histogram: Uint32Array = new Uint32Array(1 << 11);
  /** Neurons not yet decided, ascending. */
  readonly #candidates: Uint32Array;

  constructor(neuronCountMax: number) {
    this.#candidates = new Uint32Array(neuronCountMax);
  }

  /**
   * Writes 1 for the `keptCount` highest of `bits` (f32 scores as u32, `[neuronCount]`) and 0 for the others to
   * `mask[maskStart ..]`; ties go to the lower index. 0 <= keptCount <= bits.length.
   */
  select(bits: Uint32Array, keptCount: number, mask: Uint8Array, maskStart: number): void {
    if (keptCount <= 0) {
      mask.fill(0, maskStart, maskStart + bits.length);
      return;
    }
    let candidateCount = this.#splitFirst(bits, keptCount, mask, maskStart);
    let wantedCount = keptCount - this.#keptAbove;
    candidateCount = this.#narrow(bits, candidateCount, SECOND_SHIFT, wantedCount, mask, maskStart);
    wantedCount -= this.#keptAbove;
    candidateCount = this.#narrow(bits, candidateCount, 0, wantedCount, mask, maskStart);
    wantedCount -= this.#keptAbove;
    for (let index = 0; index < wantedCount; index++) mask[maskStart + this.#candidates[index]!] = 1;
  }

  /** Neurons that the last step put above its threshold. */
  #keptAbove = 0;

  #splitFirst(bits: Uint32Array, wantedCount: number, mask: Uint8Array, maskStart: number): number {
    const histogram = this.#histogram;
    const candidates = this.#candidates;
    const neuronCount = bits.length;
    histogram.fill(0);
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      histogram[(bits[neuron]! & MAGNITUDE_MASK) >>> FIRST_SHIFT]!++;
    }
    const threshold = thresholdDigit(histogram, wantedCount);
    let aboveCount = 0;
    let equalCount = 0;
    for (let neuron = 0; neuron < neuronCount; neuron++) {
      const digit = (bits[neuron]! & MAGNITUDE_MASK) >>> FIRST_SHIFT;
      const above = digit > threshold ? 1 : 0;
      mask[maskStart + neuron] = above;
      aboveCount += above;
      if (digit === threshold) candidates[equalCount++] = neuron;
    }
    this.#keptAbove = aboveCount;
    return equalCount;
  }

  #narrow(
    bits: Uint32Array,
    candidateCount: number,
    shift: number,
    wantedCount: number,
    mask: Uint8Array,
    maskStart: number,
  ): number {
    const histogram = this.#histogram;
    const candidates = this.#candidates;
    histogram.fill(0);
    for (let index = 0; index < candidateCount; index++) {
      histogram[(bits[candidates[index]!]! >>> shift) & DIGIT_MASK]!++;
    }
    const threshold = thresholdDigit(histogram, wantedCount);
    let equalCount = 0;
    let aboveCount = 0;
    for (let index = 0; index < candidateCount; index++) {
      const neuron = candidates[index]!;
      const digit = (bits[neuron]! >>> shift) & DIGIT_MASK;
      if (digit > threshold) {
        mask[maskStart + neuron] = 1;
        aboveCount++;
      } else if (digit === threshold) candidates[equalCount++] = neuron;
    }
    this.#keptAbove = aboveCount;
    return equalCount;
  }
}

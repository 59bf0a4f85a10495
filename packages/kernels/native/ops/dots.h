// Dots of a group of rows with one token: rows are read once, straight from memory, several at a time.
#pragma once

namespace {

/** Rows of a group at most; the stride of dots by token. */
constexpr uint32_t kGroupRowsMax = 48;

/** As `addDots`, of f16, a cache line of each row at a time. */
template <int R>
FLASHLM_INLINE void addHalfDots(const uint8_t* const* rows, const Ahead& ahead, const float* x, uint32_t first, uint32_t end, F (&sums)[R]) {
  for (uint32_t k = first; k < end; k += kLineHalves) {
    F values[kLineHalves / W];
    for (uint32_t v = 0; v < kLineHalves / W; v++) values[v] = fLoad(x + k + v * W);
    FLASHLM_UNROLL
    for (int r = 0; r < R; r++) {
      prefetchRow(ahead, r, 2 * k);
      F weights[kLineHalves / W];
      fHalves(rows[r] + 2 * k, weights);
      for (uint32_t v = 0; v < kLineHalves / W; v++) sums[r] = fFma(weights[v], values[v], sums[r]);
    }
  }
}

/** Whole vectors or blocks of `R` rows from column `first` to `end`; adds to `sums`. */
template <uint32_t DTYPE, int R>
FLASHLM_INLINE void addDots(const uint8_t* const* rows, const Ahead& ahead, const float* x, uint32_t first, uint32_t end, F (&sums)[R]) {
  if constexpr (DTYPE == kF16) return addHalfDots<R>(rows, ahead, x, first, end, sums);
  for (uint32_t k = first; k < end; k += stepColumns<DTYPE>()) {
    prefetchRows<R>(ahead, columnBytes<DTYPE>(k));
    for (uint32_t j = 0; j < stepColumns<DTYPE>(); j += blockColumns<DTYPE>()) {
      F values[blockColumns<DTYPE>() / W];
      for (uint32_t v = 0; v < blockColumns<DTYPE>() / W; v++) values[v] = fLoad(x + k + j + v * W);
      for (int r = 0; r < R; r++) {
        F weights[blockColumns<DTYPE>() / W];
        columnWeights<DTYPE>(rows[r], k + j, weights);
        for (uint32_t v = 0; v < blockColumns<DTYPE>() / W; v++) sums[r] = fFma(weights[v], values[v], sums[r]);
      }
    }
  }
}

/**
 * One vector of sums per row, columns ascending: lane l adds the columns that are l modulo W. Tiles of many tokens add in the same
 * order, so that a token's results do not depend on how many there are.
 */
template <uint32_t DTYPE, int R>
inline void dotRows(const uint8_t* const* rows, const uint8_t* const* next, const float* x, uint32_t columns, float* out) {
  F sums[R];
  for (int r = 0; r < R; r++) sums[r] = fZero();
  const uint64_t lengthBytes = columnBytes<DTYPE>(columns);
  const uint32_t end = columns - columns % stepColumns<DTYPE>();
  const uint32_t turn = leastOf(end, columnsOf<DTYPE>(turnBytes(lengthBytes)));
  addDots<DTYPE, R>(rows, aheadInRows(rows), x, 0, turn, sums);
  addDots<DTYPE, R>(rows, aheadInNext(rows, next, lengthBytes), x, turn, end, sums);
  uint32_t k = end;
  if (!isBlockDtype(DTYPE)) {
    for (; k + W <= columns; k += W)
      for (int r = 0; r < R; r++) sums[r] = fFma(weightsAt<DTYPE>(rows[r], k), fLoad(x + k), sums[r]);
    if (k < columns) {
      const F values = fLoadPart(x + k, columns - k);
      for (int r = 0; r < R; r++) sums[r] = fFma(weightsPart<DTYPE>(rows[r], k, columns - k), values, sums[r]);
    }
  }
  for (int r = 0; r < R; r++) out[r] = fSum(sums[r]);
}

template <uint32_t DTYPE>
inline void dotRowsOf(const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const float* x, uint32_t columns, float* out) {
  uint32_t r = 0;
  for (; r + 8 <= count; r += 8) dotRows<DTYPE, 8>(rows + r, next ? next + r : nullptr, x, columns, out + r);
  for (; r + 4 <= count; r += 4) dotRows<DTYPE, 4>(rows + r, next ? next + r : nullptr, x, columns, out + r);
  for (; r < count; r++) dotRows<DTYPE, 1>(rows + r, next ? next + r : nullptr, x, columns, out + r);
}

inline void dotsOfFloats(uint32_t dtype, const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const float* x, uint32_t columns, float* out) {
  switch (dtype) {
    case kF32:
      return dotRowsOf<kF32>(rows, next, count, x, columns, out);
    case kF16:
      return dotRowsOf<kF16>(rows, next, count, x, columns, out);
    case kBf16:
      return dotRowsOf<kBf16>(rows, next, count, x, columns, out);
    case kQ8_0:
      return dotRowsOf<kQ8_0>(rows, next, count, x, columns, out);
    case kQ4_0:
      return dotRowsOf<kQ4_0>(rows, next, count, x, columns, out);
    default:
      return dotRowsOf<kQ4_1>(rows, next, count, x, columns, out);
  }
}

/**
 * Dots of kQ8Rows rows with one quantised vector: sums[r] = chain over blocks of dot * (scale * xScale). The chain is the same
 * for every width and number of tokens, so that results are.
 */
template <uint32_t DTYPE>
inline void q8Dots(const uint8_t* const* rows, const uint8_t* const* next, uint32_t blockCount, const int8_t* x, const float* xScales, const int32_t* xSums, float* sums) {
  const uint64_t lengthBytes = blockCount * blockBytes<DTYPE>();
  const uint32_t turn = static_cast<uint32_t>(turnBytes(lengthBytes) / blockBytes<DTYPE>());
  Q8Sums sum = q8Zero();
  sum = q8Blocks<DTYPE>(rows, aheadInRows(rows), 0, turn, x, xScales, xSums, sum);
  sum = q8Blocks<DTYPE>(rows, aheadInNext(rows, next, lengthBytes), turn, blockCount, x, xScales, xSums, sum);
  q8Store(sums, sum);
}

template <uint32_t DTYPE>
inline void dotsOfBlocks(const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const Source& source, uint32_t token, float* out) {
  const uint64_t blocks = source.blockCount();
  const uint8_t* some[kQ8Rows];
  const uint8_t* later[kQ8Rows];
  float sums[kQ8Rows];
  for (uint32_t r = 0; r < count; r += kQ8Rows) {
    const uint32_t live = leastOf(kQ8Rows, count - r);
    for (uint32_t i = 0; i < kQ8Rows; i++) {
      const uint32_t row = r + (i < live ? i : live - 1);
      some[i] = rows[row];
      later[i] = next ? next[row] : nullptr;
    }
    q8Dots<DTYPE>(some, next ? later : nullptr, source.blockCount(), source.numbers + token * blocks * 32, source.scales + token * blocks, source.sums + token * blocks, sums);
    for (uint32_t i = 0; i < live; i++) out[r + i] = sums[i];
  }
}

/** out[r] = dot of row r with a token. `next`: the rows that are read after these, or nullptr. */
inline void dotsOfToken(uint32_t dtype, const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const Source& source, uint32_t token, float* out) {
  if (source.numbers == nullptr) {
    return dotsOfFloats(dtype, rows, next, count, source.values + static_cast<uint64_t>(token) * source.columnCount, source.columnCount, out);
  }
  if (dtype == kQ8_0) return dotsOfBlocks<kQ8_0>(rows, next, count, source, token, out);
  if (dtype == kQ4_0) return dotsOfBlocks<kQ4_0>(rows, next, count, source, token, out);
  return dotsOfBlocks<kQ4_1>(rows, next, count, source, token, out);
}

}  // namespace

// Dots of a group of rows with one token: rows are read once, straight from memory, several at a time.
#pragma once

namespace {

/** Rows of a group at most; the stride of dots by token. */
constexpr uint32_t kGroupRowsMax = 32;

/**
 * One vector of sums per row, columns ascending: lane l adds the columns that are l modulo W. Tiles of many tokens add in the same
 * order, so that a token's results do not depend on how many there are.
 */
template <uint32_t DTYPE, int R>
inline void dotRows(const uint8_t* const* rows, const float* x, uint32_t columns, float* out) {
  F sums[R];
  for (int r = 0; r < R; r++) sums[r] = fZero();
  if (isBlockDtype(DTYPE)) {
    for (uint32_t b = 0; b < columns / 32; b++) {
      F values[32 / W];
      for (int j = 0; j < 32 / W; j++) values[j] = fLoad(x + b * 32 + j * W);
      for (int r = 0; r < R; r++) {
        F weights[32 / W];
        blockWeights<DTYPE>(rows[r] + b * blockBytes<DTYPE>(), weights);
        for (int j = 0; j < 32 / W; j++) sums[r] = fFma(weights[j], values[j], sums[r]);
      }
    }
  } else {
    uint32_t k = 0;
    for (; k + W <= columns; k += W) {
      const F values = fLoad(x + k);
      for (int r = 0; r < R; r++) sums[r] = fFma(weightsAt<DTYPE>(rows[r], k), values, sums[r]);
    }
    if (k < columns) {
      const F values = fLoadPart(x + k, columns - k);
      for (int r = 0; r < R; r++) sums[r] = fFma(weightsPart<DTYPE>(rows[r], k, columns - k), values, sums[r]);
    }
  }
  for (int r = 0; r < R; r++) out[r] = fSum(sums[r]);
}

template <uint32_t DTYPE>
inline void dotRowsOf(const uint8_t* const* rows, uint32_t count, const float* x, uint32_t columns, float* out) {
  uint32_t r = 0;
  for (; r + 8 <= count; r += 8) dotRows<DTYPE, 8>(rows + r, x, columns, out + r);
  for (; r + 4 <= count; r += 4) dotRows<DTYPE, 4>(rows + r, x, columns, out + r);
  for (; r < count; r++) dotRows<DTYPE, 1>(rows + r, x, columns, out + r);
}

inline void dotsOfFloats(uint32_t dtype, const uint8_t* const* rows, uint32_t count, const float* x, uint32_t columns, float* out) {
  switch (dtype) {
    case kF32:
      return dotRowsOf<kF32>(rows, count, x, columns, out);
    case kF16:
      return dotRowsOf<kF16>(rows, count, x, columns, out);
    case kBf16:
      return dotRowsOf<kBf16>(rows, count, x, columns, out);
    case kQ8_0:
      return dotRowsOf<kQ8_0>(rows, count, x, columns, out);
    case kQ4_0:
      return dotRowsOf<kQ4_0>(rows, count, x, columns, out);
    default:
      return dotRowsOf<kQ4_1>(rows, count, x, columns, out);
  }
}

template <uint32_t DTYPE>
inline void dotsOfBlocks(const uint8_t* const* rows, uint32_t count, const Source& source, uint32_t token, float* out) {
  const uint64_t blocks = source.blockCount();
  const uint8_t* some[kQ8Rows];
  float sums[kQ8Rows];
  for (uint32_t r = 0; r < count; r += kQ8Rows) {
    const uint32_t live = leastOf(kQ8Rows, count - r);
    for (uint32_t i = 0; i < kQ8Rows; i++) some[i] = rows[r + (i < live ? i : live - 1)];
    q8Dots<DTYPE>(some, source.blockCount(), source.numbers + token * blocks * 32, source.scales + token * blocks, source.sums + token * blocks, sums);
    for (uint32_t i = 0; i < live; i++) out[r + i] = sums[i];
  }
}

/** out[r] = dot of row r with a token. */
inline void dotsOfToken(uint32_t dtype, const uint8_t* const* rows, uint32_t count, const Source& source, uint32_t token, float* out) {
  if (source.numbers == nullptr) {
    return dotsOfFloats(dtype, rows, count, source.values + static_cast<uint64_t>(token) * source.columnCount, source.columnCount, out);
  }
  if (dtype == kQ8_0) return dotsOfBlocks<kQ8_0>(rows, count, source, token, out);
  if (dtype == kQ4_0) return dotsOfBlocks<kQ4_0>(rows, count, source, token, out);
  return dotsOfBlocks<kQ4_1>(rows, count, source, token, out);
}

}  // namespace

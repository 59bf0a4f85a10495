// Weights of every dtype as f32 vectors. Included after a vector header, once per variant.
#pragma once

namespace {

using namespace flashlm;

inline int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
inline uint32_t leastOf(uint32_t a, uint32_t b) { return a < b ? a : b; }
inline uint32_t ceilingOf(uint64_t dividend, uint32_t divisor) { return static_cast<uint32_t>((dividend + divisor - 1) / divisor); }

/** The first `count` (below W) lanes, zeros behind them; reads nothing beyond. */
inline F fLoadPart(const float* p, uint32_t count) {
  float lanes[W] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return fLoad(lanes);
}
inline void fStorePart(float* p, F v, uint32_t count) {
  float lanes[W];
  fStore(lanes, v);
  std::memcpy(p, lanes, count * sizeof(float));
}

/** W weights from column `k` of a row that has no blocks. Always inlined, as all that inner loops use: compilers stop at some size of a file. */
template <uint32_t DTYPE>
FLASHLM_INLINE F weightsAt(const uint8_t* row, uint64_t k) {
  if (DTYPE == kF32) return fLoad(reinterpret_cast<const float*>(row) + k);
  if (DTYPE == kF16) return fHalf(row + 2 * k);
  return fBrain(row + 2 * k);
}
template <uint32_t DTYPE>
inline F weightsPart(const uint8_t* row, uint64_t k, uint32_t count) {
  constexpr uint64_t kBytes = DTYPE == kF32 ? 4 : 2;
  uint8_t lanes[W * kBytes] = {};
  std::memcpy(lanes, row + k * kBytes, count * kBytes);
  return weightsAt<DTYPE>(lanes, 0);
}

/** Bytes of `count` columns of a row; whole blocks where the dtype has blocks. */
template <uint32_t DTYPE>
constexpr uint64_t columnBytes(uint64_t count) {
  return isBlockDtype(DTYPE) ? count / 32 * blockBytes<DTYPE>() : count * (DTYPE == kF32 ? 4 : 2);
}

FLASHLM_INLINE float halfAt(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return halfToFloat(bits);
}

/** Where the numbers of a block begin, behind its scale and minimum. */
template <uint32_t DTYPE>
constexpr uint64_t numbersOffset() {
  return DTYPE == kQ4_1 ? 4 : 2;
}

/** One block as 32 / W vectors. Products of scale and number are exact; q4_1 rounds once. */
template <uint32_t DTYPE>
FLASHLM_INLINE void blockWeights(const uint8_t* block, F out[32 / W]) {
  const uint8_t* numbers = block + numbersOffset<DTYPE>();
  F values[32 / W];
  if (DTYPE == kQ8_0)
    for (int j = 0; j < 32 / W; j++) values[j] = fBytes(reinterpret_cast<const int8_t*>(numbers) + j * W);
  else fNibbles(numbers, DTYPE == kQ4_0 ? 8 : 0, values);
  const F scale = fSet(halfAt(block));
  const F minimum = DTYPE == kQ4_1 ? fSet(halfAt(block + 2)) : fZero();
  for (int j = 0; j < 32 / W; j++) out[j] = DTYPE == kQ4_1 ? fFma(values[j], scale, minimum) : fMul(values[j], scale);
}

/** Columns that become f32 together: a block, or a vector where the dtype has no blocks. */
template <uint32_t DTYPE>
constexpr uint32_t blockColumns() {
  return isBlockDtype(DTYPE) ? 32 : W;
}

/** f16 of a cache line. */
constexpr uint32_t kLineHalves = kLineBytes / 2;

/** Columns of a step of long loops: a cache line of a row, or a block. */
template <uint32_t DTYPE>
constexpr uint32_t stepColumns() {
  return isBlockDtype(DTYPE) ? 32 : static_cast<uint32_t>(kLineBytes / columnBytes<DTYPE>(1));
}

/** Whole steps in `lengthBytes` of a row, in columns. */
template <uint32_t DTYPE>
inline uint32_t columnsOf(uint64_t lengthBytes) {
  return static_cast<uint32_t>(lengthBytes / columnBytes<DTYPE>(stepColumns<DTYPE>())) * stepColumns<DTYPE>();
}

/** The block or vector of weights at column `k`. */
template <uint32_t DTYPE>
FLASHLM_INLINE void columnWeights(const uint8_t* row, uint64_t k, F* out) {
  if constexpr (isBlockDtype(DTYPE)) blockWeights<DTYPE>(row + columnBytes<DTYPE>(k), out);
  else out[0] = weightsAt<DTYPE>(row, k);
}

/** Columns first .. first + count of a row as f32; whole blocks where the dtype has blocks. */
template <uint32_t DTYPE>
inline void dequantiseAs(const uint8_t* row, uint32_t first, uint32_t count, float* out) {
  if (isBlockDtype(DTYPE)) {
    const uint8_t* block = row + first / 32 * blockBytes<DTYPE>();
    for (uint32_t k = 0; k < count; k += 32, block += blockBytes<DTYPE>()) {
      F values[32 / W];
      blockWeights<DTYPE>(block, values);
      for (int j = 0; j < 32 / W; j++) fStore(out + k + j * W, values[j]);
    }
    return;
  }
  uint32_t k = 0;
  for (; k + W <= count; k += W) fStore(out + k, weightsAt<DTYPE>(row, first + k));
  if (k < count) fStorePart(out + k, weightsPart<DTYPE>(row, first + k, count - k), count - k);
}

inline void dequantise(uint32_t dtype, const uint8_t* row, uint32_t first, uint32_t count, float* out) {
  switch (dtype) {
    case kF32:
      return dequantiseAs<kF32>(row, first, count, out);
    case kF16:
      return dequantiseAs<kF16>(row, first, count, out);
    case kBf16:
      return dequantiseAs<kBf16>(row, first, count, out);
    case kQ8_0:
      return dequantiseAs<kQ8_0>(row, first, count, out);
    case kQ4_0:
      return dequantiseAs<kQ4_0>(row, first, count, out);
    default:
      return dequantiseAs<kQ4_1>(row, first, count, out);
  }
}

}  // namespace

// Dots of a group of rows with many tokens in integers: rows side by side in lanes, four bytes of each, so that a
// block's dot is whole before it meets its scale.
#pragma once

namespace {

/** Vectors of rows in a group, and tokens in a register tile. */
constexpr uint32_t kPackedVectors = 2;
constexpr uint32_t kPackedRows = kPackedVectors * IW;
constexpr int kPackedTokens = W == 8 ? 2 : 4;
constexpr uint32_t kPackedGroupTokens = 512;

struct Packed {
  const int8_t* numbers;
  /** `[blocks, kPackedRows]`, as the minimums. */
  const float* scales;
  const float* minimums;
  /** What was added to every number. */
  int32_t offset;
  bool isUnsigned;
};

/** The 32 numbers of a block, four to a word; nibbles as they are. */
template <uint32_t DTYPE>
inline void numbersInFours(const uint8_t* numbers, uint32_t fours[8]) {
  if (DTYPE == kQ8_0) {
    std::memcpy(fours, numbers, 32);
    return;
  }
  uint64_t bytes[2];
  std::memcpy(bytes, numbers, 16);
  for (int h = 0; h < 2; h++) {
    const uint64_t low = bytes[h] & 0x0f0f0f0f0f0f0f0full;
    const uint64_t high = bytes[h] >> 4 & 0x0f0f0f0f0f0f0f0full;
    std::memcpy(fours + 2 * h, &low, 8);
    std::memcpy(fours + 4 + 2 * h, &high, 8);
  }
}

template <uint32_t DTYPE>
inline void packRow(const uint8_t* row, uint32_t blocks, uint32_t lane, int8_t* numbers, float* scales, float* minimums) {
  const uint8_t flip = DTYPE == kQ8_0 && kPackedOffset != 0 ? 0x80 : 0;
  for (uint32_t b = 0; b < blocks; b++) {
    const uint8_t* block = row + b * blockBytes<DTYPE>();
    uint32_t fours[8];
    numbersInFours<DTYPE>(block + numbersOffset<DTYPE>(), fours);
    int8_t* to = numbers + (static_cast<uint64_t>(b) * 8 * kPackedRows + lane) * 4;
    for (uint32_t g = 0; g < 8; g++) {
      const uint32_t four = fours[g] ^ (flip * 0x01010101u);
      std::memcpy(to + static_cast<uint64_t>(g) * kPackedRows * 4, &four, 4);
    }
    scales[b * kPackedRows + lane] = halfAt(block);
    if (DTYPE == kQ4_1) minimums[b * kPackedRows + lane] = halfAt(block + 2);
  }
}

template <uint32_t DTYPE>
inline Packed packRows(const uint8_t* const* rows, uint32_t count, uint32_t blocks, uint8_t* scratch) {
  int8_t* numbers = reinterpret_cast<int8_t*>(scratch);
  float* scales = reinterpret_cast<float*>(scratch + static_cast<uint64_t>(blocks) * 32 * kPackedRows);
  float* minimums = scales + static_cast<uint64_t>(blocks) * kPackedRows;
  // Lanes without a row repeat the last one; their dots are dropped.
  for (uint32_t lane = 0; lane < kPackedRows; lane++) packRow<DTYPE>(rows[leastOf(lane, count - 1)], blocks, lane, numbers, scales, minimums);
  const int32_t offset = DTYPE == kQ8_0 ? kPackedOffset : DTYPE == kQ4_0 ? 8 : 0;
  return {numbers, scales, DTYPE == kQ4_1 ? minimums : nullptr, offset, DTYPE != kQ8_0};
}

template <bool UNSIGNED, bool MINIMUM, int TT>
inline void packedTile(const Packed& packed, uint32_t blocks, const Source& source, uint32_t token, float* out) {
  F sums[TT][kPackedVectors];
  for (int t = 0; t < TT; t++)
    for (uint32_t v = 0; v < kPackedVectors; v++) sums[t][v] = fZero();
  const uint64_t first = static_cast<uint64_t>(token) * blocks;
  for (uint32_t b = 0; b < blocks; b++) {
    I dots[TT][kPackedVectors];
    const int8_t* x[TT];
    for (int t = 0; t < TT; t++) {
      const uint64_t place = first + static_cast<uint64_t>(t) * blocks + b;
      x[t] = source.numbers + place * 32;
      for (uint32_t v = 0; v < kPackedVectors; v++) dots[t][v] = iSet(-packed.offset * source.sums[place]);
    }
    const int8_t* weights = packed.numbers + static_cast<uint64_t>(b) * 8 * kPackedRows * 4;
    for (uint32_t g = 0; g < 8; g++, weights += kPackedRows * 4) {
      I w[kPackedVectors];
      for (uint32_t v = 0; v < kPackedVectors; v++) w[v] = iLoad(weights + v * IW * 4);
      for (int t = 0; t < TT; t++) {
        const I four = iSpread(x[t] + g * 4);
        for (uint32_t v = 0; v < kPackedVectors; v++) dots[t][v] = UNSIGNED ? iDotUnsigned(dots[t][v], w[v], four) : iDotSigned(dots[t][v], w[v], four);
      }
    }
    for (int t = 0; t < TT; t++) {
      const uint64_t place = first + static_cast<uint64_t>(t) * blocks + b;
      const F xScale = fSet(source.scales[place]);
      const F xSum = fSet(static_cast<float>(source.sums[place]));
      for (uint32_t v = 0; v < kPackedVectors; v++) {
        const uint64_t at = static_cast<uint64_t>(b) * kPackedRows + v * IW;
        sums[t][v] = fFma(iFloat(dots[t][v]), fMul(fLoad(packed.scales + at), xScale), sums[t][v]);
        if (MINIMUM) sums[t][v] = fFma(fMul(fLoad(packed.minimums + at), xScale), xSum, sums[t][v]);
      }
    }
  }
  for (int t = 0; t < TT; t++)
    for (uint32_t v = 0; v < kPackedVectors; v++) fStore(out + t * kGroupRowsMax + v * IW, sums[t][v]);
}

template <bool UNSIGNED, bool MINIMUM>
inline void packedTokens(const Packed& packed, uint32_t blocks, const Source& source, uint32_t first, uint32_t tokens, float* out) {
  uint32_t t = 0;
  for (; t + kPackedTokens <= tokens; t += kPackedTokens)
    packedTile<UNSIGNED, MINIMUM, kPackedTokens>(packed, blocks, source, first + t, out + t * kGroupRowsMax);
  for (; t < tokens; t++) packedTile<UNSIGNED, MINIMUM, 1>(packed, blocks, source, first + t, out + t * kGroupRowsMax);
}

/** out[t, r] (stride kGroupRowsMax) for tokens first .. first + tokens; rows beyond `count` are written too. */
inline void packedDots(
    uint32_t dtype, const uint8_t* const* rows, uint32_t count, const Source& source, uint32_t first, uint32_t tokens, float* out, uint8_t* scratch) {
  const uint32_t blocks = source.blockCount();
  if (dtype == kQ8_0) return packedTokens<false, false>(packRows<kQ8_0>(rows, count, blocks, scratch), blocks, source, first, tokens, out);
  if (dtype == kQ4_0) return packedTokens<true, false>(packRows<kQ4_0>(rows, count, blocks, scratch), blocks, source, first, tokens, out);
  return packedTokens<true, true>(packRows<kQ4_1>(rows, count, blocks, scratch), blocks, source, first, tokens, out);
}

}  // namespace

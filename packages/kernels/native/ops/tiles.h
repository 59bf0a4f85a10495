// Dots of a group of rows with many tokens in f32: rows become f32 once, then register tiles of rows times tokens.
#pragma once

namespace {

/** Columns of a panel: a group's rows of it fit the second level cache beside the sums, one tile's rows and tokens the first. */
constexpr uint32_t kPanelColumns = 512;
/** One line more than a power of two, so that rows do not compete for the same cache sets. */
constexpr uint32_t kPanelStride = kPanelColumns + 16;
/** All tokens pass once per group of rows: many rows, because tokens of long rows come from further away than the second level cache. */
constexpr uint32_t kTileGroupRows = 48;
constexpr uint32_t kTileGroupTokens = 126;
constexpr uint64_t kPanelBytes = static_cast<uint64_t>(kTileGroupRows) * kPanelStride * 4;
constexpr uint64_t kTileSumBytes = static_cast<uint64_t>(kTileGroupRows) * kTileGroupTokens * W * 4;
static_assert(kTileGroupRows % kTileRows == 0, "a group is whole tiles");

/** sums `[TT, kTileRows]` vectors += rows times tokens over `count` columns. */
template <int TT>
inline void tile(const float* rows, const float* x, uint64_t xStride, uint32_t count, float* sums) {
  F total[TT][kTileRows];
  for (int t = 0; t < TT; t++)
    for (int r = 0; r < kTileRows; r++) total[t][r] = fLoad(sums + (t * kTileRows + r) * W);
  uint32_t k = 0;
  for (; k + W <= count; k += W) {
    F weights[kTileRows];
    for (int r = 0; r < kTileRows; r++) weights[r] = fLoad(rows + r * kPanelStride + k);
    for (int t = 0; t < TT; t++) {
      const F values = fLoad(x + t * xStride + k);
      for (int r = 0; r < kTileRows; r++) total[t][r] = fFma(weights[r], values, total[t][r]);
    }
  }
  if (k < count) {
    for (int t = 0; t < TT; t++) {
      const F values = fLoadPart(x + t * xStride + k, count - k);
      for (int r = 0; r < kTileRows; r++) total[t][r] = fFma(fLoadPart(rows + r * kPanelStride + k, count - k), values, total[t][r]);
    }
  }
  for (int t = 0; t < TT; t++)
    for (int r = 0; r < kTileRows; r++) fStore(sums + (t * kTileRows + r) * W, total[t][r]);
}

/** All tiles of rows with `TT` tokens, which stay in the first level cache meanwhile. */
template <int TT>
inline void tileRows(const float* panel, uint32_t tileCount, const float* x, uint64_t xStride, uint32_t count, float* sums, uint64_t tileSums) {
  for (uint32_t i = 0; i < tileCount; i++) tile<TT>(panel + i * kTileRows * kPanelStride, x, xStride, count, sums + i * tileSums);
}

/** out[t, r] (stride kGroupRowsMax) for tokens first .. first + tokens, at most kTileGroupTokens of them. */
inline void tiledDots(
    uint32_t dtype, const uint8_t* const* rows, uint32_t count, const Source& source, uint32_t first, uint32_t tokens, float* out, uint8_t* scratch) {
  float* panel = reinterpret_cast<float*>(scratch);
  float* sums = reinterpret_cast<float*>(scratch + kPanelBytes);
  const uint32_t columns = source.columnCount;
  const float* x = source.values + static_cast<uint64_t>(first) * columns;
  const uint32_t tileCount = (count + kTileRows - 1) / kTileRows;
  const uint64_t tileSums = static_cast<uint64_t>(tokens) * kTileRows * W;
  std::memset(sums, 0, tileCount * tileSums * sizeof(float));
  for (uint32_t k = 0; k < columns; k += kPanelColumns) {
    const uint32_t width = leastOf(kPanelColumns, columns - k);
    for (uint32_t r = 0; r < tileCount * kTileRows; r++) {
      if (r < count) dequantise(dtype, rows[r], k, width, panel + r * kPanelStride);
      else std::memset(panel + r * kPanelStride, 0, width * sizeof(float));
    }
    uint32_t t = 0;
    for (; t + kTileTokens <= tokens; t += kTileTokens)
      tileRows<kTileTokens>(panel, tileCount, x + k + static_cast<uint64_t>(t) * columns, columns, width, sums + t * kTileRows * W, tileSums);
    for (; t + 2 <= tokens; t += 2) tileRows<2>(panel, tileCount, x + k + static_cast<uint64_t>(t) * columns, columns, width, sums + t * kTileRows * W, tileSums);
    if (t < tokens) tileRows<1>(panel, tileCount, x + k + static_cast<uint64_t>(t) * columns, columns, width, sums + t * kTileRows * W, tileSums);
  }
  for (uint32_t r = 0; r < count; r++)
    for (uint32_t t = 0; t < tokens; t++)
      out[t * kGroupRowsMax + r] = fSum(fLoad(sums + r / kTileRows * tileSums + (t * kTileRows + r % kTileRows) * W));
}

}  // namespace

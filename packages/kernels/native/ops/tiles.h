// Dots of a group of rows with many tokens in f32: rows become f32 once, then register tiles of rows times tokens.
#pragma once

namespace {

/** Columns of a panel: a group's rows of it fit the second level cache beside the sums, one tile's rows and tokens the first. */
constexpr uint32_t kPanelColumns = W == 16 ? 1024 : 512;
/** One line more than a power of two, so that rows do not compete for the same cache sets. */
constexpr uint32_t kPanelStride = kPanelColumns + 16;
/** All tokens pass once per group of rows: many rows, because tokens of long rows come from further away than the second level cache. */
constexpr uint32_t kTileGroupRows = 48;
constexpr uint32_t kTileGroupTokens = 128;
constexpr uint64_t kPanelBytes = static_cast<uint64_t>(kTileGroupRows) * kPanelStride * 4;
constexpr uint64_t kTileSumBytes = static_cast<uint64_t>(kTileGroupRows) * kTileGroupTokens * W * 4;
static_assert(kTileGroupRows % kTileRows == 0, "a group is whole tiles");

/** Columns behind the last whole vector. Apart from `tile`, whose sums stay in registers only while no loop picks them by number. */
template <int TT>
inline void tileEnd(const float* rows, const float* x, uint64_t xStride, uint32_t count, float* sums) {
  for (int t = 0; t < TT; t++) {
    const F values = fLoadPart(x + t * xStride, count);
    for (int r = 0; r < kTileRows; r++) {
      float* sum = sums + (t * kTileRows + r) * W;
      fStore(sum, fFma(fLoadPart(rows + r * kPanelStride, count), values, fLoad(sum)));
    }
  }
}

/** sums `[TT, kTileRows]` vectors += rows times tokens over `count` columns; meanwhile asks for as many bytes from `ahead` on. */
template <int TT>
inline void tile(const float* rows, const float* x, uint64_t xStride, uint32_t count, const uint8_t* ahead, float* sums) {
  F total[TT * kTileRows];
  FLASHLM_UNROLL
  for (int i = 0; i < TT * kTileRows; i++) total[i] = fLoad(sums + i * W);
  const float* tokens[TT];
  FLASHLM_UNROLL
  for (int t = 0; t < TT; t++) tokens[t] = x + t * xStride;
  uint32_t k = 0;
  for (; k + W <= count; k += W) {
    prefetchFar(ahead + k * sizeof(float));
    F weights[kTileRows];
    FLASHLM_UNROLL
    for (int r = 0; r < kTileRows; r++) weights[r] = fLoad(rows + r * kPanelStride + k);
    FLASHLM_UNROLL
    for (int t = 0; t < TT; t++) {
      const F values = fLoad(tokens[t] + k);
      FLASHLM_UNROLL
      for (int r = 0; r < kTileRows; r++) total[t * kTileRows + r] = fFma(weights[r], values, total[t * kTileRows + r]);
    }
  }
  FLASHLM_UNROLL
  for (int i = 0; i < TT * kTileRows; i++) fStore(sums + i * W, total[i]);
  if (k < count) tileEnd<TT>(rows + k, x + k, xStride, count - k, sums);
}

/** What tiles of a panel read and write. */
struct TilePanel {
  const float* rows;
  uint32_t tileCount;
  const float* x;
  uint64_t xStride;
  uint32_t width;
  float* sums;
  uint64_t tileSums;
  /** Where the panel after this one begins: tokens, and rows before they become f32. */
  const float* nextX;
  const uint8_t* const* nextRows;
  uint64_t nextRowBytes;
  uint32_t nextRowCount;
};

/** What is read soon: the tokens after these `tokens`, and a share of the next panel's rows. */
inline const uint8_t* tileAhead(const TilePanel& panel, uint32_t i, uint32_t t, uint32_t tokens, uint32_t tokenCount) {
  if (i < tokens) {
    const float* x = t + tokens < tokenCount ? panel.x + (t + tokens + i) * panel.xStride : panel.nextX + i * panel.xStride;
    return reinterpret_cast<const uint8_t*>(x);
  }
  const uint32_t row = t / tokens * (panel.tileCount - tokens) + i - tokens;
  return panel.nextRows[leastOf(row, panel.nextRowCount - 1)] + panel.nextRowBytes;
}

/** All tiles of rows with `TT` tokens, which stay in the first level cache meanwhile. */
template <int TT>
inline void tileRows(const TilePanel& panel, uint32_t t, uint32_t tokenCount) {
  for (uint32_t i = 0; i < panel.tileCount; i++)
    tile<TT>(panel.rows + i * kTileRows * kPanelStride, panel.x + t * panel.xStride, panel.xStride, panel.width, tileAhead(panel, i, t, TT, tokenCount), panel.sums + i * panel.tileSums + t * kTileRows * W);
}

inline void tileTokens(const TilePanel& panel, uint32_t tokens) {
  uint32_t t = 0;
  for (; t + kTileTokens <= tokens; t += kTileTokens) tileRows<kTileTokens>(panel, t, tokens);
  for (; t + 2 <= tokens; t += 2) tileRows<2>(panel, t, tokens);
  if (t < tokens) tileRows<1>(panel, t, tokens);
}

/** out[t, r] (stride kGroupRowsMax) for tokens first .. first + tokens, at most kTileGroupTokens of them. */
inline void tiledDots(
    uint32_t dtype, const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const Source& source, uint32_t first, uint32_t tokens, float* out, uint8_t* scratch) {
  float* weights = reinterpret_cast<float*>(scratch);
  float* sums = reinterpret_cast<float*>(scratch + kPanelBytes);
  const uint32_t columns = source.columnCount;
  const float* x = source.values + static_cast<uint64_t>(first) * columns;
  const uint32_t tileCount = ceilingOf(count, kTileRows);
  const uint64_t tileSums = static_cast<uint64_t>(tokens) * kTileRows * W;
  std::memset(sums, 0, tileCount * tileSums * sizeof(float));
  for (uint32_t k = 0; k < columns; k += kPanelColumns) {
    const uint32_t width = leastOf(kPanelColumns, columns - k);
    for (uint32_t r = 0; r < tileCount * kTileRows; r++) {
      if (r < count) dequantise(dtype, rows[r], k, width, weights + r * kPanelStride);
      else std::memset(weights + r * kPanelStride, 0, width * sizeof(float));
    }
    const uint32_t soon = k + width < columns ? k + width : 0;
    const uint8_t* const* nextRows = soon == 0 && next ? next : rows;
    tileTokens({weights, tileCount, x + k, columns, width, sums, tileSums, x + soon, nextRows, rowBytes(dtype, soon), count}, tokens);
  }
  for (uint32_t r = 0; r < count; r++)
    for (uint32_t t = 0; t < tokens; t++)
      out[t * kGroupRowsMax + r] = fSum(fLoad(sums + r / kTileRows * tileSums + (t * kTileRows + r % kTileRows) * W));
}

}  // namespace

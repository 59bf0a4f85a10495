// Rows in groups times tokens in groups: what matmul, FFN activations and scores have in common.
#pragma once

namespace {

/** Up to this many tokens are multiplied straight from memory, row group by row group; more are worth a packed copy. */
constexpr uint32_t kDirectTokensMax = 3;
/** Rows of a direct group: as many streams as hardware prefetchers follow, and sums enough to hide the latency of additions. */
constexpr uint32_t kDirectRows = 8;
/** Longest row: packed rows, their scales and dots fit a thread's scratch. */
constexpr uint32_t kColumnsMax = 65536;
constexpr uint64_t kDotsBytes = static_cast<uint64_t>(kPackedGroupTokens) * kGroupRowsMax * 4;
static_assert(kDotsBytes + kPanelBytes + kTileSumBytes <= kScratchBytes, "tiles fit the scratch");
static_assert(kDotsBytes + static_cast<uint64_t>(kColumnsMax) * kPackedRows * 5 / 4 <= kScratchBytes, "packed rows fit the scratch");

inline bool isDirect(const Source& source) { return source.tokenCount <= kDirectTokensMax; }

inline uint32_t groupRows(const Source& source) {
  if (isDirect(source)) return kDirectRows;
  return source.numbers ? kPackedRows : kTileGroupRows;
}
inline uint32_t groupTokens(const Source& source) { return source.numbers ? kPackedGroupTokens : kTileGroupTokens; }

/**
 * Dots of at most groupRows rows with at most groupTokens tokens, `[tokens, kGroupRowsMax]`, in the thread's scratch. `next`: the `count` rows
 * that are read after these, or nullptr.
 */
inline const float* groupDots(Run& run, uint32_t thread, uint32_t dtype, const uint8_t* const* rows, const uint8_t* const* next, uint32_t count, const Source& source, uint32_t first, uint32_t tokens) {
  float* dots = reinterpret_cast<float*>(run.scratch[thread]);
  uint8_t* scratch = run.scratch[thread] + kDotsBytes;
  if (isDirect(source)) {
    for (uint32_t t = 0; t < tokens; t++) dotsOfToken(dtype, rows, next, count, source, first + t, dots + t * kGroupRowsMax);
  } else if (source.numbers) {
    packedDots(dtype, rows, count, source, first, tokens, dots, scratch);
  } else {
    tiledDots(dtype, rows, next, count, source, first, tokens, dots, scratch);
  }
  return dots;
}

/** Pieces of work that threads claim: small enough that one which wakes late, or loses its core to a read, holds nobody up. */
constexpr uint32_t kPiecesPerThread = 16;
/** Multiply-adds, counted as bytes read, that are worth a claim: a few microseconds. */
constexpr uint64_t kPieceCost = 32768;

/** The last quarter of the pieces is cut again, into pieces a quarter as long: whoever has nothing left to claim waits for less. */
constexpr uint32_t kTaper = 4;

/** Units of a job in pieces, in order. */
struct Pieces {
  uint32_t units, perLong, longCount, perShort, count;

  /** Where a piece begins, and the one before it ends. */
  uint32_t begin(uint32_t piece) const {
    const uint32_t longs = leastOf(piece, longCount);
    return leastOf(units, longs * perLong + (piece - longs) * perShort);
  }
};

/** Units that a piece should have; a multiple of `step`. */
inline uint32_t unitsPerPiece(const Run& run, uint64_t units, uint64_t cost, uint32_t step) {
  const uint64_t threads = run.threadCount;
  uint64_t size = threads == 1 ? units : units / (threads * kPiecesPerThread);
  const uint64_t least = kPieceCost / (cost + 1);
  if (size < least) size = least;
  if (size < (units >> 18)) size = units >> 18;
  const uint32_t steps = ceilingOf(size < units ? size : units, step);
  return (steps == 0 ? 1 : steps) * step;
}

/** Pieces of one unit or more, of `cost` each; all but the last end at multiples of `step`. */
inline Pieces piecesOf(const Run& run, uint64_t units, uint64_t cost, uint32_t step) {
  Pieces pieces;
  pieces.units = static_cast<uint32_t>(units);
  pieces.perLong = unitsPerPiece(run, units, cost, step);
  const uint32_t count = ceilingOf(units, pieces.perLong);
  pieces.longCount = count - (run.threadCount == 1 ? 0 : count / kTaper);
  pieces.perShort = ceilingOf(ceilingOf(pieces.perLong, kTaper), step) * step;
  const uint32_t begun = leastOf(pieces.units, pieces.longCount * pieces.perLong);
  pieces.count = pieces.longCount + ceilingOf(pieces.units - begun, pieces.perShort);
  return pieces;
}

}  // namespace

// Cache lines that are asked for before they are read. Included by the vector headers, once per variant.
#pragma once
#include <cstdint>

#include "codes.h"

namespace {

constexpr uint64_t kLineBytes = 64;
/** How far ahead of what is read lines are asked for, per row of a group: eight rows keep as many lines under way as a core can (bench/ops.mjs). */
constexpr uint64_t kAheadBytes = 512;

/** Asks for a cache line that is read soon. Always inlined: compilers drop calls of functions that do nothing but this. */
FLASHLM_INLINE void prefetch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p);
#else
  (void)p;
#endif
}

/** The same for what is read later, after much else: into the second level cache. */
FLASHLM_INLINE void prefetchFar(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p, 0, 2);
#else
  (void)p;
#endif
}

/** Where the lines lie that are read soon: at `rows[r] + offset` while byte `offset - aheadBytes` of row r is read. */
struct Ahead {
  const uint8_t* const* rows;
  int64_t aheadBytes;
};

/** Bytes of a row after which what is read soon lies in the rows that come next. */
FLASHLM_INLINE uint64_t turnBytes(uint64_t lengthBytes) { return lengthBytes > kAheadBytes ? lengthBytes - kAheadBytes : 0; }

/** Until the turn: further on in the same rows. */
FLASHLM_INLINE Ahead aheadInRows(const uint8_t* const* rows) { return {rows, static_cast<int64_t>(kAheadBytes)}; }

/** From the turn on. `next`: the rows that are read after these, or nullptr, where these are followed to behind their ends. */
FLASHLM_INLINE Ahead aheadInNext(const uint8_t* const* rows, const uint8_t* const* next, uint64_t lengthBytes) {
  if (next == nullptr) return aheadInRows(rows);
  return {next, -static_cast<int64_t>(turnBytes(lengthBytes))};
}

/**
 * Asks for the line of one row, and stays where it is: compilers would collect the requests of all rows, which then wait for
 * each other before anything is computed (bench/ops.mjs, sparse FFN).
 */
FLASHLM_INLINE void prefetchRow(const Ahead& ahead, int row, uint64_t at) {
  prefetch(ahead.rows[row] + (static_cast<int64_t>(at) + ahead.aheadBytes));
#if defined(__GNUC__) || defined(__clang__)
  __asm__ volatile("" ::: "memory");
#endif
}

template <int R>
FLASHLM_INLINE void prefetchRows(const Ahead& ahead, uint64_t at) {
  for (int r = 0; r < R; r++) prefetch(ahead.rows[r] + (static_cast<int64_t>(at) + ahead.aheadBytes));
}

}  // namespace

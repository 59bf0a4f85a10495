#include "warmer.h"

#include <algorithm>

#if defined(__linux__)
#include <unistd.h>
#endif
#if defined(_MSC_VER)
#include <xmmintrin.h>
#endif

namespace flashlm {
namespace {

/** Bytes between two looks for real work: a few microseconds. */
constexpr uint64_t kStepBytes = 32u << 10;
constexpr uint64_t kLineBytes = 64;

/** A hint, not a read: what is there may change meanwhile. */
inline void askFor(const uint8_t* bytes) {
#if defined(_MSC_VER)
  _mm_prefetch(reinterpret_cast<const char*>(bytes), _MM_HINT_T1);
#else
  __builtin_prefetch(bytes, 0, 2);
#endif
}

}  // namespace

void Warmer::clear() {
  if (addedBytes_ == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  hasWork_.store(false, std::memory_order_relaxed);
  ranges_.clear();
  range_ = 0;
  at_ = 0;
  addedBytes_ = 0;
}

void Warmer::add(const uint8_t* bytes, uint64_t lengthBytes) {
  const uint64_t taken = std::min(lengthBytes, limitBytes_ - addedBytes_);
  if (taken == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  ranges_.push_back({bytes, taken});
  addedBytes_ += taken;
  hasWork_.store(true, std::memory_order_relaxed);
}

bool Warmer::step() {
  if (!hasWork()) return false;
  const uint8_t* bytes;
  uint64_t lengthBytes;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (range_ == ranges_.size()) return false;
    const Range& range = ranges_[range_];
    bytes = range.bytes + at_;
    lengthBytes = std::min(kStepBytes, range.lengthBytes - at_);
    at_ += lengthBytes;
    if (at_ == range.lengthBytes) {
      range_++;
      at_ = 0;
    }
    if (range_ == ranges_.size()) hasWork_.store(false, std::memory_order_relaxed);
  }
  for (uint64_t line = 0; line < lengthBytes; line += kLineBytes) askFor(bytes + line);
  return true;
}

uint64_t warmLimitBytes() {
#if defined(__linux__) && defined(_SC_LEVEL3_CACHE_SIZE)
  const long cacheBytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return cacheBytes > 0 ? static_cast<uint64_t>(cacheBytes) / 2 : 0;
#else
  return 0;
#endif
}

}  // namespace flashlm

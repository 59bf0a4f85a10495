// Weights of a coming program, asked for by threads that would otherwise only look for work.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace flashlm {

class Warmer {
 public:
  /** At most so many bytes are asked for ahead: what is more would push out what was asked for first. */
  explicit Warmer(uint64_t limitBytes) : limitBytes_(limitBytes) {}

  /** Forgets what has not been asked for. */
  void clear();
  /** Adds a range behind those that are there; what goes beyond the limit is left out. */
  void add(const uint8_t* bytes, uint64_t lengthBytes);
  bool hasWork() const { return hasWork_.load(std::memory_order_relaxed); }
  /** Asks for the next few kilobytes; false where nothing is left. Called by any thread. */
  bool step();

 private:
  struct Range {
    const uint8_t* bytes;
    uint64_t lengthBytes;
  };

  const uint64_t limitBytes_;
  std::atomic<bool> hasWork_{false};
  std::mutex mutex_;
  std::vector<Range> ranges_;
  size_t range_ = 0;
  uint64_t at_ = 0;
  uint64_t addedBytes_ = 0;
};

/** Half of the last level of cache; 0 where the system does not say how large it is. */
uint64_t warmLimitBytes();

}  // namespace flashlm

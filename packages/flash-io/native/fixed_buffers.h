#pragma once
#include "uring_ring.h"
#if defined(FLASH_IO_HAS_URING)
#include <cstdint>
#include <map>
#include <vector>

namespace flash_io {

/**
 * Target memory that is registered with the ring, so that the kernel need not look up its pages for every read: a third
 * less processor time at 16 KiB (bench/batch-cost.mjs). Memory is taken in pieces, and each only once as many bytes were read into it
 * as it holds: what is loaded once and kept is never pinned, and what is pinned was in use anyway. Where the kernel or a limit
 * on locked memory refuses, reads go on without.
 */
class FixedBuffers {
 public:
  explicit FixedBuffers(const UringRing& ring) : ring_(ring) {}
  /** Call once the ring is open. */
  void open();
  void add(uint8_t* bytes, size_t length);
  /** Index of the registered buffer that holds the range, or -1. Counts the range as read into. */
  int32_t find(const uint8_t* bytes, uint32_t length);

 private:
  struct Piece {
    uint64_t read_bytes = 0;
    int32_t index = kNotYet;
  };
  struct Region {
    uint8_t* bytes;
    size_t length;
    std::vector<Piece> pieces;
  };

  static constexpr int32_t kNotYet = -1;
  static constexpr int32_t kRefused = -2;

  Region* region_of(const uint8_t* bytes, uint32_t length);
  int32_t register_piece(const Region& region, size_t piece_index);

  const UringRing& ring_;
  /** By the address of their end, so that lower_bound finds the one an address lies in. */
  std::map<uintptr_t, Region> regions_;
  Region* last_ = nullptr;
  uint32_t used_ = 0;
  bool enabled_ = false;
};

}  // namespace flash_io
#endif

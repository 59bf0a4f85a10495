#include "fixed_buffers.h"
#if defined(FLASH_IO_HAS_URING)
#include <sys/uio.h>

#include <algorithm>

namespace flash_io {
namespace {

/** Reads that cross the border of two pieces go without; larger pieces would take longer to be found worth it. */
constexpr size_t kPieceBytes = 32 * 1024 * 1024;
constexpr uint32_t kTableEntries = 4096;

// Newer than the headers of some systems this is built on.
constexpr uint32_t kRegisterBuffers2 = 15;
constexpr uint32_t kRegisterBuffersUpdate = 16;
constexpr uint32_t kSparse = 1;

struct RegisterTable {
  uint32_t count;
  uint32_t flags;
  uint64_t reserved;
  uint64_t data;
  uint64_t tags;
};

struct UpdateTable {
  uint32_t offset;
  uint32_t reserved;
  uint64_t data;
  uint64_t tags;
  uint32_t count;
  uint32_t reserved_too;
};

}  // namespace

void FixedBuffers::open() {
  const RegisterTable table{kTableEntries, kSparse, 0, 0, 0};
  enabled_ = ring_.register_with(kRegisterBuffers2, &table, sizeof table) == 0;
}

void FixedBuffers::add(uint8_t* bytes, size_t length) {
  if (!enabled_ || length == 0) return;
  const uintptr_t end = reinterpret_cast<uintptr_t>(bytes) + length;
  // Memory that is attached again, perhaps under another name, is known already.
  const auto known = regions_.find(end);
  if (known != regions_.end() && known->second.length >= length) return;
  regions_[end] = {bytes, length, std::vector<Piece>((length + kPieceBytes - 1) / kPieceBytes)};
  last_ = nullptr;
}

FixedBuffers::Region* FixedBuffers::region_of(const uint8_t* bytes, uint32_t length) {
  const auto holds = [&](const Region& region) {
    return bytes >= region.bytes && bytes + length <= region.bytes + region.length;
  };
  if (last_ != nullptr && holds(*last_)) return last_;
  const auto found = regions_.lower_bound(reinterpret_cast<uintptr_t>(bytes) + length);
  if (found == regions_.end() || !holds(found->second)) return nullptr;
  return last_ = &found->second;
}

int32_t FixedBuffers::find(const uint8_t* bytes, uint32_t length) {
  Region* const region = region_of(bytes, length);
  if (region == nullptr) return -1;
  const size_t from = static_cast<size_t>(bytes - region->bytes);
  const size_t piece_index = from / kPieceBytes;
  if ((from + length - 1) / kPieceBytes != piece_index) return -1;
  Piece& piece = region->pieces[piece_index];
  if (piece.index >= 0) return piece.index;
  piece.read_bytes += length;
  const size_t piece_bytes = std::min(kPieceBytes, region->length - piece_index * kPieceBytes);
  if (piece.index == kNotYet && piece.read_bytes > piece_bytes) piece.index = register_piece(*region, piece_index);
  return piece.index;
}

int32_t FixedBuffers::register_piece(const Region& region, size_t piece_index) {
  if (used_ == kTableEntries) return kRefused;
  const size_t from = piece_index * kPieceBytes;
  const iovec memory{region.bytes + from, std::min(kPieceBytes, region.length - from)};
  const uint64_t no_tag = 0;
  const UpdateTable update{used_, 0, reinterpret_cast<uintptr_t>(&memory), reinterpret_cast<uintptr_t>(&no_tag), 1, 0};
  if (ring_.register_with(kRegisterBuffersUpdate, &update, sizeof update) != 0) return kRefused;
  return static_cast<int32_t>(used_++);
}

}  // namespace flash_io
#endif

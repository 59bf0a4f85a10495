#include "read.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fault_hook.h"

namespace flash_io {
namespace {

/** Copies what is wanted of `arrived` bytes of a chunk to the target; returns how many new bytes that was. */
uint32_t copy_chunk(const Read& read, uint64_t arrived) {
  const uint64_t from = read.spec.offset + read.done;
  const uint64_t until = std::min(read.chunk_start + arrived, read.spec.offset + read.spec.length);
  if (until <= from) return 0;
  std::memcpy(read.spec.target + read.done, read.bounce + (from - read.chunk_start), until - from);
  return static_cast<uint32_t>(until - from);
}

bool end(Read& read, Outcome outcome, int32_t error) {
  read.outcome = outcome;
  read.error = static_cast<int16_t>(error);
  return true;
}

}  // namespace

bool must_bounce(const ReadSpec& spec, uint32_t alignment) {
  const uint64_t bits = spec.offset | spec.length | reinterpret_cast<uintptr_t>(spec.target);
  return (bits & (alignment - 1)) != 0;
}

Request next_request(Read& read, uint32_t alignment) {
  const uint64_t position = read.spec.offset + read.done;
  const uint32_t rest = read.spec.length - read.done;
  if (!read.bounces) return {read.spec.target + read.done, rest, position};
  const uint64_t mask = alignment - 1;
  read.chunk_start = position & ~mask;
  const uint64_t until = (position + rest + mask) & ~mask;
  const uint64_t chunk = std::min<uint64_t>(until - read.chunk_start, kBounceBytes);
  return {read.bounce, static_cast<uint32_t>(chunk), read.chunk_start};
}

bool finish_request(Read& read, uint32_t alignment, int64_t result) {
  result = inject_fault(read, result);
  if (result < 0) {
    if (result == -EINTR || result == -EAGAIN) return false;
    // A device may ask for more than the alignment that was found at opening.
    if (result == -EINVAL && alignment > 1 && !read.bounces) {
      read.bounces = true;
      return false;
    }
    return end(read, Outcome::kFailed, static_cast<int32_t>(-result));
  }
  const uint32_t arrived = read.bounces ? copy_chunk(read, static_cast<uint64_t>(result)) : static_cast<uint32_t>(result);
  read.done += arrived;
  if (read.done >= read.spec.length) return end(read, Outcome::kLanded, 0);
  if (arrived == 0) return end(read, Outcome::kShort, 0);
  // A request may end anywhere; what is left of the read is then no longer aligned.
  if ((read.done & (alignment - 1)) != 0) read.bounces = true;
  return false;
}

}  // namespace flash_io

#pragma once
#include <cstddef>
#include <cstdint>

namespace flash_io {

/** How a read ended; the numbers are those of the portable reader's `OUTCOME_` constants. */
enum class Outcome : uint8_t { kPending = 0, kLanded = 1, kShort = 2, kFailed = 3, kAborted = 4 };

/** What a caller asks for. `length` is at most 64 MiB. */
struct ReadSpec {
  uint64_t offset;
  uint8_t* target;
  uint32_t length;
  uint32_t file;
};

/** A read on its way. Lives in a `ReadQueue`, which links it through `next`. One cache line: after a wait, each line is a miss. */
struct alignas(64) Read {
  ReadSpec spec;
  Read* next;
  uint32_t batch;
  uint32_t index;
  /** Bytes that have arrived in the target. */
  uint32_t done;
  /** The positive error number of a failed read. */
  int16_t error;
  Outcome outcome;
  bool bounces : 1;
  /** A request of it has been made: it is too late to cancel. */
  bool started : 1;
  /** File position of the request that is out, when it goes through bounce memory. */
  uint64_t chunk_start;
  uint8_t* bounce;
};
static_assert(sizeof(Read) == 64);

/** One request to the operating system. */
struct Request {
  uint8_t* memory;
  uint32_t length;
  uint64_t offset;
};

/** Bounce memory of one read: large enough for device speed, small enough that all fit in a few MiB. */
constexpr uint32_t kBounceBytes = 256 * 1024;
constexpr size_t kPageBytes = 4096;

/** True when offset, length or target is not a multiple of `alignment` (a power of two; 1 never bounces). */
bool must_bounce(const ReadSpec& spec, uint32_t alignment);

/** The next request of a read that has not ended; one that bounces has its `bounce` set. */
Request next_request(Read& read, uint32_t alignment);

/**
 * Takes note of a request that returned `result` (bytes, or a negative error number). True when the read has ended, and
 * then `outcome` says how; otherwise it needs `next_request`, and may have begun to bounce.
 */
bool finish_request(Read& read, uint32_t alignment, int64_t result);

}  // namespace flash_io

#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "file.h"
#include "read_queue.h"

namespace flash_io {

struct Stats {
  uint64_t request_count;
  /** Alignment padding included. */
  uint64_t read_bytes;
};

/** Issues reads. One thread calls it; only `on_progress` is called from another. */
class Backend {
 public:
  virtual ~Backend() = default;
  /** Tells of memory that reads may land in, now and as long as the backend lives. */
  virtual void attach(uint8_t*, size_t) {}
  /** Queues reads and starts as many as may be in flight. Never waits for the device. */
  virtual void submit(const ReadSpec* specs, size_t count, uint32_t batch, bool demand) = 0;
  /**
   * Takes ended reads. Where fewer than `wait_for` have ended, blocks until that many have or some progress was made;
   * returns 0 after waiting only when nothing is out.
   */
  virtual size_t collect(Completion* out, size_t capacity, size_t wait_for) = 0;
  /** Ends reads of a batch (or kAnyBatch) that have not begun as aborted. */
  virtual void cancel(uint32_t batch) = 0;
  /** While watched, `on_progress` is called (on any thread) when reads may have ended. */
  virtual void watch(bool on) = 0;
  virtual Stats stats() const = 0;
  /** Cancels what has not begun and blocks until nothing is in flight. Only `collect` and the destructor may follow. */
  virtual void shutdown() = 0;
};

/** What a backend is made with; files stay the caller's and must outlive it. */
struct BackendOptions {
  const std::vector<File>* files;
  uint32_t in_flight_max;
  /** Microseconds for which a wait looks for completions before it sleeps; heeded by io_uring. */
  uint32_t awake_us;
  std::function<void()> on_progress;
};

/** Null with `reason` set where the kernel refuses io_uring, or knows too little of it. */
std::unique_ptr<Backend> make_uring_backend(const BackendOptions& options, std::string& reason);

/** A pool of `in_flight_max` threads with one blocking read each. */
std::unique_ptr<Backend> make_pool_backend(const BackendOptions& options);

/** Bytes of a request sequence for `spec`, padding included: what `Stats::read_bytes` grows by. */
uint64_t padded_bytes(const ReadSpec& spec, uint32_t alignment);

/** Page-aligned memory from the operating system, zeroed when first touched; throws std::bad_alloc. */
uint8_t* allocate_pages(size_t length);
void free_pages(uint8_t* memory, size_t length);
/** Asks for large pages behind untouched memory that will be read into: a request then has one segment instead of many. */
void prefer_large_pages(uint8_t* memory, size_t length);

}  // namespace flash_io

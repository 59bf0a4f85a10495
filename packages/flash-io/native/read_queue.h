#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "read.h"

namespace flash_io {

/** Reads linked one after the other. */
class ReadList {
 public:
  bool empty() const { return head_ == nullptr; }
  Read* front() const { return head_; }
  void push_back(Read* read);
  void push_front(Read* read);
  Read* pop_front();
  /** Moves every read of `batch` (or of all, for kAnyBatch) that has not begun to the end of `target`. */
  size_t move_batch(uint32_t batch, ReadList& target);

 private:
  Read* head_ = nullptr;
  Read* tail_ = nullptr;
};

constexpr uint32_t kAnyBatch = 0xffffffff;

/** How a read ended, as it is handed to the caller. */
struct Completion {
  uint32_t batch;
  uint32_t index;
  Outcome outcome;
  int32_t error;
  uint32_t done;
  ReadSpec spec;
};

/** Records of reads, those that wait, and those that have ended and were not taken yet. Not locked. */
class ReadQueue {
 public:
  /** Queues one read, or ends it at once if it asks for nothing. */
  void add(const ReadSpec& spec, uint32_t batch, uint32_t index, bool demand, uint32_t alignment);
  /** Demand before speculative; null when nothing waits. */
  Read* pop();
  /** For a read that must go on before all others. */
  void push_front(Read* read) { demand_.push_front(read); waiting_++; }
  void end(Read* read) { ended_.push_back(read); ended_count_++; }
  /** Ends reads of `batch` that have not begun as aborted. */
  void cancel(uint32_t batch);
  /** Takes at most `capacity` ended reads and frees their records. */
  size_t take(Completion* out, size_t capacity);

  size_t waiting() const { return waiting_; }
  size_t ended() const { return ended_count_; }

 private:
  Read* allocate();

  std::vector<std::unique_ptr<Read[]>> blocks_;
  ReadList free_;
  ReadList demand_;
  ReadList speculative_;
  ReadList ended_;
  size_t waiting_ = 0;
  size_t ended_count_ = 0;
};

}  // namespace flash_io

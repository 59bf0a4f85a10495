#include "read_queue.h"

namespace flash_io {
namespace {

constexpr size_t kBlockReads = 1024;

}  // namespace

void ReadList::push_back(Read* read) {
  read->next = nullptr;
  if (tail_ == nullptr) head_ = read;
  else tail_->next = read;
  tail_ = read;
}

void ReadList::push_front(Read* read) {
  read->next = head_;
  head_ = read;
  if (tail_ == nullptr) tail_ = read;
}

Read* ReadList::pop_front() {
  Read* const read = head_;
  if (read == nullptr) return nullptr;
  head_ = read->next;
  if (head_ == nullptr) tail_ = nullptr;
  return read;
}

size_t ReadList::move_batch(uint32_t batch, ReadList& target) {
  size_t moved = 0;
  ReadList kept;
  while (Read* const read = pop_front()) {
    const bool wanted = (batch == kAnyBatch || read->batch == batch) && !read->started;
    if (wanted) {
      read->outcome = Outcome::kAborted;
      target.push_back(read);
      moved++;
    } else {
      kept.push_back(read);
    }
  }
  *this = kept;
  return moved;
}

Read* ReadQueue::allocate() {
  if (free_.empty()) {
    blocks_.push_back(std::make_unique<Read[]>(kBlockReads));
    for (size_t index = 0; index < kBlockReads; index++) free_.push_back(&blocks_.back()[index]);
  }
  return free_.pop_front();
}

void ReadQueue::add(const ReadSpec& spec, uint32_t batch, uint32_t index, bool demand, uint32_t alignment) {
  Read* const read = allocate();
  *read = Read{};
  read->spec = spec;
  read->batch = batch;
  read->index = index;
  read->bounces = must_bounce(spec, alignment);
  if (spec.length == 0) {
    read->outcome = Outcome::kLanded;
    end(read);
    return;
  }
  (demand ? demand_ : speculative_).push_back(read);
  waiting_++;
}

Read* ReadQueue::pop() {
  Read* const read = demand_.empty() ? speculative_.pop_front() : demand_.pop_front();
  if (read != nullptr) waiting_--;
  return read;
}

void ReadQueue::cancel(uint32_t batch) {
  const size_t moved = demand_.move_batch(batch, ended_) + speculative_.move_batch(batch, ended_);
  waiting_ -= moved;
  ended_count_ += moved;
}

size_t ReadQueue::take(Completion* out, size_t capacity) {
  size_t count = 0;
  for (; count < capacity && !ended_.empty(); count++) {
    Read* const read = ended_.pop_front();
    out[count] = {read->batch, read->index, read->outcome, read->error, read->done, read->spec};
    free_.push_front(read);
  }
  ended_count_ -= count;
  return count;
}

}  // namespace flash_io

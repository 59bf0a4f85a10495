#include "reader_handle.h"

#include <algorithm>
#include <cmath>

namespace flash_io {
namespace {

/** A longer read would sit in the device's queue in front of everything else. */
constexpr double kReadBytesMax = 64.0 * 1024 * 1024;
constexpr uint32_t kFailedBit = 0x80000000;

bool is_count(double value, double most) { return value >= 0 && value <= most && std::floor(value) == value; }

}  // namespace

bool ReaderHandle::start(const std::string& backend, uint32_t in_flight_max, uint32_t awake_us,
                         napi_value on_progress, std::string& reason) {
  napi_value name;
  napi_create_string_utf8(env_, "flash-io progress", NAPI_AUTO_LENGTH, &name);
  // One call in the queue is enough: it takes note of everything that has ended by then.
  if (napi_create_threadsafe_function(env_, on_progress, nullptr, name, 1, 1, nullptr, nullptr, nullptr, nullptr,
                                      &on_progress_) != napi_ok) {
    reason = "the event loop could not be reached";
    return false;
  }
  napi_unref_threadsafe_function(env_, on_progress_);
  const auto notify = [this] { napi_call_threadsafe_function(on_progress_, nullptr, napi_tsfn_nonblocking); };
  const BackendOptions options{&files_, in_flight_max, awake_us, notify};
  backend_ = backend == "io_uring" ? make_uring_backend(options, reason) : make_pool_backend(options);
  return backend_ != nullptr;
}

void ReaderHandle::attach(uint32_t arena_id, napi_value bytes, Arena arena, bool is_fresh) {
  napi_ref reference;
  if (napi_create_reference(env_, bytes, 1, &reference) == napi_ok) references_.push_back(reference);
  arenas_[arena_id] = arena;
  if (is_fresh) prefer_large_pages(arena.bytes, arena.length);
  backend_->attach(arena.bytes, arena.length);
}

const Arena* ReaderHandle::find_arena(uint32_t arena_id) {
  if (last_arena_ != nullptr && last_arena_id_ == arena_id) return last_arena_;
  const auto found = arenas_.find(arena_id);
  if (found == arenas_.end()) return nullptr;
  last_arena_id_ = arena_id;
  return last_arena_ = &found->second;
}

bool ReaderHandle::to_spec(const BatchArrays& batch, size_t index, ReadSpec& spec) {
  const uint32_t file_index = batch.file_index[index];
  const double offset = batch.offset_bytes[index];
  const double length = batch.length_bytes[index];
  const double target = batch.target_offset_bytes[index];
  const Arena* const arena = find_arena(batch.target_arena_id[index]);
  if (file_index >= files_.size() || arena == nullptr) return false;
  const double file_bytes = static_cast<double>(files_[file_index].size);
  const double arena_bytes = static_cast<double>(arena->length);
  if (!is_count(length, kReadBytesMax) || !is_count(offset, file_bytes) || !is_count(target, arena_bytes)) return false;
  if (offset + length > file_bytes || target + length > arena_bytes) return false;
  spec = {static_cast<uint64_t>(offset), arena->bytes + static_cast<size_t>(target),
          static_cast<uint32_t>(length), file_index};
  return true;
}

int64_t ReaderHandle::submit(const BatchArrays& batch, uint32_t batch_id, bool demand) {
  specs_.resize(std::max(specs_.size(), batch.count));
  for (size_t index = 0; index < batch.count; index++) {
    if (!to_spec(batch, index, specs_[index])) return static_cast<int64_t>(index);
  }
  backend_->submit(specs_.data(), batch.count, batch_id, demand);
  return -1;
}

size_t ReaderHandle::collect(uint32_t* pairs, size_t capacity, size_t wait_for) {
  completions_.resize(std::max(completions_.size(), capacity));
  const size_t count = backend_->collect(completions_.data(), capacity, wait_for);
  for (size_t index = 0; index < count; index++) {
    const Completion& completion = completions_[index];
    const bool failed = completion.outcome != Outcome::kLanded;
    if (failed) failures_.push_back(completion);
    pairs[2 * index] = completion.batch;
    pairs[2 * index + 1] = completion.index | (failed ? kFailedBit : 0);
  }
  return count;
}

bool ReaderHandle::take_failure(double* fields) {
  if (failures_.empty()) return false;
  const Completion& failure = failures_.front();
  fields[0] = static_cast<double>(failure.outcome);
  fields[1] = -failure.error;
  fields[2] = failure.done;
  fields[3] = failure.spec.file;
  fields[4] = static_cast<double>(failure.spec.offset);
  fields[5] = failure.spec.length;
  failures_.pop_front();
  return true;
}

void ReaderHandle::watch(bool on) {
  if (on) napi_ref_threadsafe_function(env_, on_progress_);
  else napi_unref_threadsafe_function(env_, on_progress_);
  backend_->watch(on);
}

void ReaderHandle::close() {
  // Its destructor waits for what is in flight and ends every thread that could still call.
  backend_.reset();
  if (on_progress_ != nullptr) napi_release_threadsafe_function(on_progress_, napi_tsfn_abort);
  on_progress_ = nullptr;
  for (File& file : files_) close_file(file);
  files_.clear();
  for (const napi_ref reference : references_) napi_delete_reference(env_, reference);
  references_.clear();
  arenas_.clear();
  last_arena_ = nullptr;
}

}  // namespace flash_io

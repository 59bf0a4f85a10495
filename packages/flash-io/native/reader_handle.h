#pragma once
#include <node_api.h>

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend.h"

namespace flash_io {

/** Memory that reads may land in. */
struct Arena {
  uint8_t* bytes;
  size_t length;
};

/** The parallel arrays of a `ReadBatch`, borrowed for one call. */
struct BatchArrays {
  size_t count;
  const uint32_t* file_index;
  const double* offset_bytes;
  const double* length_bytes;
  const uint32_t* target_arena_id;
  const double* target_offset_bytes;
};

/** What a native reader of one JavaScript thread owns. */
class ReaderHandle {
 public:
  explicit ReaderHandle(napi_env env) : env_(env) {}
  ReaderHandle(const ReaderHandle&) = delete;
  ReaderHandle& operator=(const ReaderHandle&) = delete;
  ~ReaderHandle() { close(); }

  std::vector<File>& files() { return files_; }
  /** False with `reason` where the system refuses the backend. `on_progress` is a function of JavaScript. */
  bool start(const std::string& backend, uint32_t in_flight_max, uint32_t awake_us, napi_value on_progress,
             std::string& reason);
  /** Keeps `bytes` alive until the reader closes: a read may land in them. Fresh ones are the reader's own and have not been touched. */
  void attach(uint32_t arena_id, napi_value bytes, Arena arena, bool is_fresh);
  /** Starts the reads, all or none: the index of the first that is refused, or -1. */
  int64_t submit(const BatchArrays& batch, uint32_t batch_id, bool demand);
  /** Pairs of batch and index, the sign bit of the index set for failures; returns how many. */
  size_t collect(uint32_t* pairs, size_t capacity, size_t wait_for);
  /** The oldest failure not taken yet: outcome, error number, bytes that came, file, offset, length. False if there is none. */
  bool take_failure(double* fields);
  /** While watched, the event loop hears of progress and stays alive. */
  void watch(bool on);
  Backend* backend() { return backend_.get(); }
  /** Blocks until nothing is in flight, then frees everything. Idempotent. */
  void close();

 private:
  const Arena* find_arena(uint32_t arena_id);
  bool to_spec(const BatchArrays& batch, size_t index, ReadSpec& spec);

  napi_env env_;
  std::vector<File> files_;
  std::unordered_map<uint32_t, Arena> arenas_;
  /** Batches mostly have one target; elements of the map stay where they are. */
  const Arena* last_arena_ = nullptr;
  uint32_t last_arena_id_ = 0;
  std::vector<napi_ref> references_;
  napi_threadsafe_function on_progress_ = nullptr;
  std::vector<ReadSpec> specs_;
  std::vector<Completion> completions_;
  std::deque<Completion> failures_;
  std::unique_ptr<Backend> backend_;
};

}  // namespace flash_io

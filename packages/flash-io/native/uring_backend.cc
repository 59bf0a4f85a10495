#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "backend.h"
#include "uring_ring.h"

#if defined(FLASH_IO_HAS_URING)
#include "event_thread.h"
#include "fixed_buffers.h"

namespace flash_io {
namespace {

/** Reads that may bounce at once; each has bounce memory, touched only when it is used. */
constexpr uint32_t kBounceLanes = 32;

class UringBackend final : public Backend {
 public:
  explicit UringBackend(const BackendOptions& options)
      : files_(*options.files), in_flight_max_(options.in_flight_max), awake_us_(options.awake_us), events_(options.on_progress) {}

  ~UringBackend() override {
    shutdown();
    events_.stop();
    if (bounce_memory_ != nullptr) free_pages(bounce_memory_, size_t{kBounceLanes} * kBounceBytes);
  }

  bool open(std::string& reason) {
    if (std::getenv("FLASHLM_IO_URING") != nullptr && std::strcmp(std::getenv("FLASHLM_IO_URING"), "off") == 0) {
      reason = "FLASHLM_IO_URING=off";
      return false;
    }
    if (!ring_.open(in_flight_max_, reason)) return false;
    if (!events_.open()) {
      reason = std::string("no eventfd is to be had: ") + std::strerror(errno);
      return false;
    }
    std::vector<int> descriptors;
    for (const File& file : files_) descriptors.push_back(file.descriptor);
    fixed_files_ = !descriptors.empty() && ring_.register_with(IORING_REGISTER_FILES, descriptors.data(),
                                                               static_cast<uint32_t>(descriptors.size())) == 0;
    buffers_.open();
    return true;
  }

  void attach(uint8_t* bytes, size_t length) override { buffers_.add(bytes, length); }

  void submit(const ReadSpec* specs, size_t count, uint32_t batch, bool demand) override {
    for (size_t index = 0; index < count; index++) {
      queue_.add(specs[index], batch, static_cast<uint32_t>(index), demand, files_[specs[index].file].alignment);
    }
    // What has ended makes room for these.
    advance();
    flush();
  }

  size_t collect(Completion* out, size_t capacity, size_t wait_for) override {
    advance();
    wait_for = std::min(wait_for, capacity);
    if (awake_us_ > 0) wait_awake(wait_for);
    while (queue_.ended() < wait_for && in_flight_ > 0) {
      enter(wait_count(wait_for - queue_.ended()));
      reap();
      pump();
    }
    flush();
    return queue_.take(out, capacity);
  }

  void cancel(uint32_t batch) override { queue_.cancel(batch); }

  void watch(bool on) override {
    if (on == watched_) return;
    watched_ = on;
    if (on) {
      events_.start();
      const int descriptor = events_.descriptor();
      ring_.register_with(IORING_REGISTER_EVENTFD, &descriptor, 1);
      // What was ready before the registration makes no event.
      events_.signal();
    } else {
      ring_.register_with(IORING_UNREGISTER_EVENTFD, nullptr, 0);
    }
  }

  Stats stats() const override { return stats_; }

  void shutdown() override {
    queue_.cancel(kAnyBatch);
    while (in_flight_ > 0) {
      enter(1);
      reap();
      pump();
    }
  }

 private:
  /** How many completions to sleep for: all that are wanted, or few while more reads wait for their turn. */
  uint32_t wait_count(size_t wanted) const {
    const size_t most = queue_.waiting() > 0 ? std::max<size_t>(1, in_flight_ / 4) : in_flight_;
    return static_cast<uint32_t>(std::min(wanted, most));
  }

  /** Looks for completions for a while, so that what ends soon need wake nobody. */
  void wait_awake(size_t wanted) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(awake_us_);
    while (queue_.ended() < wanted && in_flight_ > 0 && std::chrono::steady_clock::now() < until) {
      advance();
      flush();
    }
  }

  /** Takes note of reads that have ended, and prepares others in their place. */
  void advance() {
    if (ring_.has_kernel_work()) enter(0);
    reap();
    pump();
  }

  void reap() {
    uint64_t user_data;
    int32_t result;
    while (ring_.pop(user_data, result)) {
      Read* const read = reinterpret_cast<Read*>(user_data);
      in_flight_--;
      const bool ended = finish_request(*read, files_[read->spec.file].alignment, result);
      if (read->bounce != nullptr) {
        free_bounces_.push_back(read->bounce);
        read->bounce = nullptr;
      }
      if (ended) queue_.end(read);
      else queue_.push_front(read);
    }
  }

  /** Prepares requests for as many waiting reads as may be in flight. */
  void pump() {
    while (in_flight_ < in_flight_max_ && queue_.waiting() > 0) {
      Read* const read = queue_.pop();
      if (read->bounces && !take_bounce(*read)) {
        queue_.push_front(read);
        return;
      }
      prepare(*read);
    }
  }

  void prepare(Read& read) {
    io_uring_sqe* entry = ring_.next_entry();
    if (entry == nullptr) {
      flush();
      entry = ring_.next_entry();
    }
    const uint32_t alignment = files_[read.spec.file].alignment;
    const Request request = next_request(read, alignment);
    if (!read.started) {
      read.started = true;
      stats_.request_count++;
      stats_.read_bytes += padded_bytes(read.spec, alignment);
    }
    const int32_t buffer = buffers_.find(request.memory, request.length);
    entry->opcode = buffer >= 0 ? IORING_OP_READ_FIXED : IORING_OP_READ;
    if (buffer >= 0) entry->buf_index = static_cast<uint16_t>(buffer);
    entry->flags = fixed_files_ ? IOSQE_FIXED_FILE : 0;
    entry->fd = fixed_files_ ? static_cast<int>(read.spec.file) : files_[read.spec.file].descriptor;
    entry->addr = reinterpret_cast<uintptr_t>(request.memory);
    entry->len = request.length;
    entry->off = request.offset;
    entry->user_data = reinterpret_cast<uintptr_t>(&read);
    in_flight_++;
  }

  /** Hands everything prepared to the kernel. */
  void flush() {
    while (ring_.unsubmitted() > 0) enter(0);
  }

  void enter(uint32_t wait_for) {
    const int error = ring_.enter(wait_for);
    if (error == 0 || error == -EINTR) return;
    // The kernel is short of memory for requests, or has completions to hand over first.
    if (error == -EAGAIN || error == -EBUSY || error == -ENOMEM) reap();
    else throw std::system_error(-error, std::generic_category(), "io_uring_enter");
  }

  bool take_bounce(Read& read) {
    if (bounce_memory_ == nullptr) {
      bounce_memory_ = allocate_pages(size_t{kBounceLanes} * kBounceBytes);
      buffers_.add(bounce_memory_, size_t{kBounceLanes} * kBounceBytes);
      for (uint32_t lane = 0; lane < kBounceLanes; lane++) free_bounces_.push_back(bounce_memory_ + lane * kBounceBytes);
    }
    if (free_bounces_.empty()) return false;
    read.bounce = free_bounces_.back();
    free_bounces_.pop_back();
    return true;
  }

  const std::vector<File>& files_;
  const uint32_t in_flight_max_;
  const uint32_t awake_us_;
  UringRing ring_;
  FixedBuffers buffers_{ring_};
  ReadQueue queue_;
  EventThread events_;
  Stats stats_{};
  uint32_t in_flight_ = 0;
  bool fixed_files_ = false;
  bool watched_ = false;
  uint8_t* bounce_memory_ = nullptr;
  std::vector<uint8_t*> free_bounces_;
};

}  // namespace

std::unique_ptr<Backend> make_uring_backend(const BackendOptions& options, std::string& reason) {
  auto backend = std::make_unique<UringBackend>(options);
  if (!backend->open(reason)) return nullptr;
  return backend;
}

}  // namespace flash_io

#else

namespace flash_io {

std::unique_ptr<Backend> make_uring_backend(const BackendOptions&, std::string& reason) {
  reason = "io_uring exists on Linux only, and this was built without its header elsewhere";
  return nullptr;
}

}  // namespace flash_io
#endif

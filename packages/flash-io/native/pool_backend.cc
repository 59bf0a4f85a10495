#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "backend.h"

namespace flash_io {
namespace {

uint8_t* try_allocate_pages(size_t length) {
  try {
    return allocate_pages(length);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

class PoolBackend final : public Backend {
 public:
  explicit PoolBackend(const BackendOptions& options) : files_(*options.files), on_progress_(options.on_progress) {
    try {
      while (threads_.size() < options.in_flight_max) threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) {
      // A limit on threads: fewer serve as well, but none do not.
      if (threads_.empty()) throw;
    }
  }

  ~PoolBackend() override {
    shutdown();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void submit(const ReadSpec* specs, size_t count, uint32_t batch, bool demand) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t index = 0; index < count; index++) {
      queue_.add(specs[index], batch, static_cast<uint32_t>(index), demand, files_[specs[index].file].alignment);
    }
    const size_t wanted = std::min(queue_.waiting(), idle_);
    if (wanted == idle_) work_.notify_all();
    else
      for (size_t index = 0; index < wanted; index++) work_.notify_one();
  }

  size_t collect(Completion* out, size_t capacity, size_t wait_for) override {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto wanted = [&] {
      const size_t reachable = queue_.ended() + queue_.waiting() + in_flight_;
      return std::min({wait_for, capacity, reachable});
    };
    if (queue_.ended() < wanted()) {
      wake_at_ = wanted();
      ended_.wait(lock, [&] { return queue_.ended() >= wake_at_; });
      wake_at_ = kNobodyWaits;
    }
    return queue_.take(out, capacity);
  }

  void cancel(uint32_t batch) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    queue_.cancel(batch);
  }

  void watch(bool on) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    watched_ = on;
  }

  Stats stats() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }

  void shutdown() override {
    std::unique_lock<std::mutex> lock(mutex_);
    queue_.cancel(kAnyBatch);
    wake_at_ = 0;
    ended_.wait(lock, [&] { return in_flight_ == 0 && queue_.waiting() == 0; });
    wake_at_ = kNobodyWaits;
  }

 private:
  static constexpr size_t kNobodyWaits = ~size_t{0};

  void run() {
    uint8_t* bounce = nullptr;
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stopping_) {
      Read* const read = queue_.pop();
      if (read == nullptr) {
        idle_++;
        work_.wait(lock);
        idle_--;
        continue;
      }
      const uint32_t alignment = files_[read->spec.file].alignment;
      in_flight_++;
      read->started = true;
      stats_.request_count++;
      stats_.read_bytes += padded_bytes(read->spec, alignment);
      lock.unlock();
      serve(*read, alignment, bounce);
      lock.lock();
      in_flight_--;
      queue_.end(read);
      if (queue_.ended() >= wake_at_) ended_.notify_one();
      if (watched_) on_progress_();
    }
    lock.unlock();
    if (bounce != nullptr) free_pages(bounce, kBounceBytes);
  }

  void serve(Read& read, uint32_t alignment, uint8_t*& bounce) const {
    const File& file = files_[read.spec.file];
    for (;;) {
      if (read.bounces && bounce == nullptr) bounce = try_allocate_pages(kBounceBytes);
      if (read.bounces && bounce == nullptr) {
        finish_request(read, alignment, -ENOMEM);
        return;
      }
      read.bounce = bounce;
      const Request request = next_request(read, alignment);
      if (finish_request(read, alignment, read_at(file, request.memory, request.length, request.offset))) return;
    }
  }

  const std::vector<File>& files_;
  const std::function<void()> on_progress_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable ended_;
  ReadQueue queue_;
  Stats stats_{};
  size_t in_flight_ = 0;
  size_t idle_ = 0;
  size_t wake_at_ = kNobodyWaits;
  bool watched_ = false;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Backend> make_pool_backend(const BackendOptions& options) {
  return std::make_unique<PoolBackend>(options);
}

uint64_t padded_bytes(const ReadSpec& spec, uint32_t alignment) {
  const uint64_t mask = alignment - 1;
  return ((spec.offset + spec.length + mask) & ~mask) - (spec.offset & ~mask);
}

}  // namespace flash_io

#include "pool.h"

#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace flashlm {
namespace {

constexpr uint64_t kLowMask = (1u << 20) - 1;

/**
 * How long a thread looks for work before it sleeps. Waking it costs 50 to 100 microseconds on a virtual machine, more than most
 * ops take; looking much longer would burn a core while reads are awaited.
 */
constexpr auto kLookFor = std::chrono::microseconds(200);
/** Looks between two glances at the clock. */
constexpr int kLooksPerGlance = 64;

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

inline uint32_t nextPiece(uint64_t claims) { return static_cast<uint32_t>(claims & kLowMask); }
inline uint32_t pieceCountOf(uint64_t claims) { return static_cast<uint32_t>(claims >> 20 & kLowMask); }
inline bool hasWork(uint64_t claims) { return nextPiece(claims) < pieceCountOf(claims); }

}  // namespace

Pool::Pool(uint32_t threadCount) : threadCount_(threadCount) {
  try {
    for (uint32_t thread = 1; thread < threadCount; thread++) threads_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    stop();
    throw;
  }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
  stopping_.store(true);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wakeCount_++;
  }
  news_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::parallel(PieceFunction function, void* job, uint32_t pieceCount) {
  if (pieceCount <= 1 || threadCount_ == 1) {
    for (uint32_t index = 0; index < pieceCount; index++) function(job, index, 0);
    return;
  }
  function_ = function;
  job_ = job;
  doneCount_.store(0, std::memory_order_relaxed);
  epoch_++;
  claims_.store(epoch_ << 40 | static_cast<uint64_t>(pieceCount) << 20, std::memory_order_release);
  while (claimAndDo(0)) {
  }
  awaitDone(pieceCount);
}

bool Pool::claimAndDo(uint32_t thread) {
  if (!hasWork(claims_.load(std::memory_order_relaxed))) return false;
  const uint64_t claimed = claims_.fetch_add(1, std::memory_order_acquire);
  if (!hasWork(claimed)) return false;
  function_(job_, nextPiece(claimed), thread);
  doneCount_.fetch_add(1, std::memory_order_release);
  return true;
}

void Pool::awaitDone(uint32_t pieceCount) {
  int looks = 0;
  while (doneCount_.load(std::memory_order_acquire) != pieceCount) {
    // Whoever works on the last piece may have lost its core to us.
    if (++looks < 4096) pause();
    else std::this_thread::yield();
  }
}

void Pool::wake() {
  // Pairs with the count in sleepUntilNews: either we see the sleeper, or it sees the work.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (sleeperCount_.load(std::memory_order_relaxed) == 0) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wakeCount_++;
  }
  news_.notify_all();
}

void Pool::sleepUntilNews(uint64_t seen) {
  std::unique_lock<std::mutex> lock(mutex_);
  sleeperCount_.fetch_add(1);
  const uint64_t wakes = wakeCount_;
  news_.wait(lock, [&] { return wakeCount_ != wakes || stopping_.load() || claims_.load() >> 40 != seen >> 40; });
  sleeperCount_.fetch_sub(1);
}

void Pool::work(uint32_t thread) {
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (claimAndDo(thread)) continue;
    const uint64_t seen = claims_.load(std::memory_order_relaxed);
    const auto until = std::chrono::steady_clock::now() + kLookFor;
    bool found = false;
    while (!found && std::chrono::steady_clock::now() < until) {
      for (int look = 0; look < kLooksPerGlance && !found; look++) {
        pause();
        found = hasWork(claims_.load(std::memory_order_relaxed));
      }
    }
    if (!found && !stopping_.load()) sleepUntilNews(seen);
  }
}

}  // namespace flashlm

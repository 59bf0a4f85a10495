#include "pool.h"

#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace flashlm {
namespace {

constexpr uint64_t kLowMask = (1u << 20) - 1;

/**
 * How long a thread looks for work before it sleeps. Waking it costs 50 to 100 microseconds on a virtual machine, more than most ops take, and between
 * two programs of a layer reads are planned for most of a millisecond (decision 0027); looking much longer would burn a core while they are awaited.
 */
constexpr auto kLookFor = std::chrono::microseconds(1000);
/** Looks between two glances at the clock. */
constexpr int kLooksPerGlance = 64;
/** Looks at what another thread is doing until our core is offered to it. */
constexpr int kLooksUntilYield = 4096;

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
  const uint32_t self = leader_;
  if (pieceCount <= 1 || threadCount_ == 1) {
    for (uint32_t index = 0; index < pieceCount; index++) function(job, index, self);
    return;
  }
  function_ = function;
  job_ = job;
  doneCount_.store(0, std::memory_order_relaxed);
  epoch_++;
  claims_.store(epoch_ << 40 | static_cast<uint64_t>(pieceCount) << 20, std::memory_order_release);
  while (claimAndDo(self)) {
  }
  awaitDone(pieceCount);
}

void Pool::lead(LeadFunction function, void* task) {
  leadFunction_ = function;
  task_ = task;
  lead_.store(LeadState::kOffered, std::memory_order_release);
  wake();
}

bool Pool::takeLead(uint32_t thread) {
  LeadState state = LeadState::kOffered;
  if (lead_.load(std::memory_order_relaxed) != state) return false;
  if (!lead_.compare_exchange_strong(state, LeadState::kTaken, std::memory_order_acq_rel)) return false;
  leader_ = thread;
  leadFunction_(task_);
  leader_ = 0;
  lead_.store(LeadState::kDone, std::memory_order_release);
  return true;
}

void Pool::follow() {
  int looks = 0;
  if (!takeLead(0)) {
    while (lead_.load(std::memory_order_acquire) != LeadState::kDone) {
      if (claimAndDo(0)) looks = 0;
      else if (++looks < kLooksUntilYield) pause();
      else std::this_thread::yield();
    }
  }
  lead_.store(LeadState::kNone, std::memory_order_relaxed);
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
    if (++looks < kLooksUntilYield) pause();
    else std::this_thread::yield();
  }
}

bool Pool::hasNews() const {
  return hasWork(claims_.load(std::memory_order_relaxed)) || lead_.load(std::memory_order_relaxed) == LeadState::kOffered;
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
  news_.wait(lock, [&] {
    return wakeCount_ != wakes || stopping_.load() || claims_.load() >> 40 != seen >> 40 || lead_.load() == LeadState::kOffered;
  });
  sleeperCount_.fetch_sub(1);
}

void Pool::work(uint32_t thread) {
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (claimAndDo(thread) || takeLead(thread)) continue;
    const uint64_t seen = claims_.load(std::memory_order_relaxed);
    const auto until = std::chrono::steady_clock::now() + kLookFor;
    bool found = false;
    while (!found && std::chrono::steady_clock::now() < until) {
      for (int look = 0; look < kLooksPerGlance && !found; look++) {
        pause();
        found = hasNews();
      }
    }
    if (!found && !stopping_.load()) sleepUntilNews(seen);
  }
}

}  // namespace flashlm

// Threads that claim pieces of one job at a time. The calling thread takes part; whoever claims nothing is not waited for. Who calls may also be one of
// the threads: it then leads a task of several jobs while the engine's own thread is elsewhere.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "run.h"

namespace flashlm {

/** Most pieces of a job: their number must fit 20 bits of the claim word, with room for claims that come too late. */
constexpr uint32_t kPiecesMax = 1u << 19;

/** A task that a thread leads. */
using LeadFunction = void (*)(void* task);

class Pool {
 public:
  /** Starts threadCount - 1 threads. @throws std::system_error where the system has none left. */
  explicit Pool(uint32_t threadCount);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t threadCount() const { return threadCount_; }

  /** Does all pieces; returns when the last one is done. Called by one thread at a time: the engine's own, or the one that leads. */
  void parallel(PieceFunction function, void* job, uint32_t pieceCount);

  /** Offers a task, which may call `parallel`, to the threads and returns at once. Nothing else until `follow`. */
  void lead(LeadFunction function, void* task);
  /** Does the task where no thread has begun it, else takes part in its jobs; returns when it is done. */
  void follow();

  /** Wakes threads that sleep, ahead of a run that has work for them. */
  void wake();

 private:
  enum class LeadState : uint32_t { kNone, kOffered, kTaken, kDone };

  void stop();
  void work(uint32_t thread);
  bool claimAndDo(uint32_t thread);
  bool takeLead(uint32_t thread);
  bool hasNews() const;
  void sleepUntilNews(uint64_t seen);
  void awaitDone(uint32_t pieceCount);

  const uint32_t threadCount_;
  // The job is written before the claim word is, and stays as long as a claimed piece is not done.
  PieceFunction function_ = nullptr;
  void* job_ = nullptr;
  uint64_t epoch_ = 0;
  // The task is written before it is offered, and what its leader wrote is read after it is done.
  LeadFunction leadFunction_ = nullptr;
  void* task_ = nullptr;
  /** Which thread calls `parallel`. */
  uint32_t leader_ = 0;
  /** epoch << 40 | pieceCount << 20 | next piece: one word, so that a late claim can never mix two jobs. */
  alignas(64) std::atomic<uint64_t> claims_{0};
  alignas(64) std::atomic<uint32_t> doneCount_{0};
  alignas(64) std::atomic<LeadState> lead_{LeadState::kNone};
  alignas(64) std::atomic<uint32_t> sleeperCount_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable news_;
  uint64_t wakeCount_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace flashlm

// Threads that claim pieces of one job at a time. The calling thread takes part; whoever claims nothing is not waited for.
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

class Pool {
 public:
  /** Starts threadCount - 1 threads. @throws std::system_error where the system has none left. */
  explicit Pool(uint32_t threadCount);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  uint32_t threadCount() const { return threadCount_; }

  /** Does all pieces; returns when the last one is done. Called by one thread only. */
  void parallel(PieceFunction function, void* job, uint32_t pieceCount);

  /** Wakes threads that sleep, ahead of a run that has work for them. */
  void wake();

 private:
  void stop();
  void work(uint32_t thread);
  bool claimAndDo(uint32_t thread);
  void sleepUntilNews(uint64_t seen);
  void awaitDone(uint32_t pieceCount);

  const uint32_t threadCount_;
  // The job is written before the claim word is, and stays as long as a claimed piece is not done.
  PieceFunction function_ = nullptr;
  void* job_ = nullptr;
  uint64_t epoch_ = 0;
  /** epoch << 40 | pieceCount << 20 | next piece: one word, so that a late claim can never mix two jobs. */
  alignas(64) std::atomic<uint64_t> claims_{0};
  alignas(64) std::atomic<uint32_t> doneCount_{0};
  alignas(64) std::atomic<uint32_t> sleeperCount_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable news_;
  uint64_t wakeCount_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace flashlm

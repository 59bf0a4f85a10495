// What every op gets: the arena with checks of what lies in it, threads, scratch and the fault of the run.
#pragma once
#include <cstdint>

#include "codes.h"
#include "op.h"

namespace flashlm {

/** Does piece `index` of a job on thread `thread`. */
using PieceFunction = void (*)(void* job, uint32_t index, uint32_t thread);

/** Scratch of a thread: packed rows, partial sums, scores. Address space until touched. */
constexpr uint64_t kScratchBytes = 4u << 20;

struct Run {
  uint8_t* arena = nullptr;
  uint64_t arenaBytes = 0;
  uint32_t threadCount = 1;
  void* pool = nullptr;
  void (*doPieces)(void* pool, PieceFunction function, void* job, uint32_t pieceCount) = nullptr;
  uint8_t* const* scratch = nullptr;
  /** Scratch of the caller that grows with the number of tokens: quantised activations. */
  uint8_t* (*shared)(void* owner, uint64_t lengthBytes) = nullptr;
  void* sharedOwner = nullptr;
  /** A Fault; set by any thread. */
  int fault = kFaultNone;

  /** Does all pieces on all threads. */
  FLASHLM_INLINE void parallel(PieceFunction function, void* job, uint32_t pieceCount) { doPieces(pool, function, job, pieceCount); }
  FLASHLM_INLINE void fail(Fault reason) { __atomic_store_n(&fault, static_cast<int>(reason), __ATOMIC_RELAXED); }
  FLASHLM_INLINE bool inside(uint64_t offsetBytes, uint64_t lengthBytes) const {
    return offsetBytes != 0 && lengthBytes <= arenaBytes && offsetBytes <= arenaBytes - lengthBytes;
  }
  /** The bytes of a place, or nullptr and a fault. */
  FLASHLM_INLINE uint8_t* place(uint64_t offsetBytes, uint64_t lengthBytes) {
    if (inside(offsetBytes, lengthBytes)) return arena + offsetBytes;
    fail(kFaultRange);
    return nullptr;
  }
  FLASHLM_INLINE uint32_t word(uint64_t offsetBytes) { return *reinterpret_cast<const uint32_t*>(arena + offsetBytes); }
  FLASHLM_INLINE uint8_t* resolve(const Reference& reference, uint64_t lengthBytes) {
    const uint64_t word = reference.wordBytes ? static_cast<uint64_t>(this->word(reference.wordBytes)) << 4 : 0;
    return place(word + reference.offsetBytes, lengthBytes);
  }
  /** As resolve; nullptr without a fault where there is no reference. */
  FLASHLM_INLINE const float* vector(const Reference& reference, uint64_t count) {
    return reference.present() ? reinterpret_cast<const float*>(resolve(reference, count * 4)) : nullptr;
  }
  /** Record of a position, or nullptr and a fault. */
  FLASHLM_INLINE const uint8_t* record(const uint32_t* addresses, uint32_t position, uint64_t strideBytes) {
    const uint64_t at = static_cast<uint64_t>(addresses[position]) << 4;
    if (inside(at, strideBytes)) return arena + at;
    fail(kFaultAddress);
    return nullptr;
  }
};

/** Kernels compiled for one instruction set. */
struct Variant {
  const char* name;
  /** Does one op on all threads; `tokens` is at least 1. */
  void (*op)(Run& run, const Op& op, uint32_t tokens);
  /** Sums `lengthBytes` (a multiple of 1024) at `bytes`: the plain memory-read loop of the benchmarks. */
  float (*read)(const uint8_t* bytes, uint64_t lengthBytes);
  /** Does `count` fused multiply-adds of as many lanes as this returns, on registers. */
  uint32_t (*multiplyAdd)(uint64_t count, float* sink);
};

}  // namespace flashlm

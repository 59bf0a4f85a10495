// Numbers that programs carry; src/native/encode.ts has the same ones.
#pragma once
#include <cstdint>

/**
 * For functions that files of several instruction sets share: a copy that the linker keeps once might be the one with
 * instructions that the machine lacks, so there must be none.
 */
#define FLASHLM_INLINE __attribute__((always_inline)) inline

/** For short loops over registers: sums that a loop picks by number would be kept in memory too. */
#if defined(__clang__)
#define FLASHLM_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define FLASHLM_UNROLL _Pragma("GCC unroll 32")
#else
#define FLASHLM_UNROLL
#endif

namespace flashlm {

/** Raised when words of a program, exports of the addon or a meaning changes; the host refuses another number. */
constexpr uint32_t kAbiVersion = 3;

enum Dtype : uint32_t { kF32 = 0, kF16 = 1, kBf16 = 2, kQ8_0 = 3, kQ4_0 = 4, kQ4_1 = 5 };

enum Activation : uint32_t { kSilu = 0, kRelu = 1, kRelu2 = 2, kGelu = 3, kGeluTanh = 4 };

enum ScoreKind : uint32_t { kContribution = 0, kGate = 1, kProduct = 2 };

enum OpCode : uint32_t {
  kOpGatherRows = 1,
  kOpNorm = 2,
  kOpMatmul = 3,
  kOpRope = 4,
  kOpStoreKeyValue = 5,
  kOpAttention = 6,
  kOpFfnActivations = 7,
  kOpFfnDown = 8,
  kOpNeuronScores = 9,
  kOpCrc32c = 10,
  kOpAdd = 11,
  kOpCopy = 12,
  kOpSoftCap = 13,
  kOpSoftmax = 14,
  kOpArgmax = 15,
  kOpConvert = 16,
};

/** What a run reports instead of reading beyond memory. */
enum Fault : int { kFaultNone = 0, kFaultRowId = 1, kFaultAddress = 2, kFaultRange = 3 };

constexpr uint32_t kBlockWeights = 32;

/** Bytes of a row of `count` weights. */
FLASHLM_INLINE uint64_t rowBytes(uint32_t dtype, uint64_t count) {
  switch (dtype) {
    case kF32:
      return count * 4;
    case kF16:
    case kBf16:
      return count * 2;
    case kQ8_0:
      return count / kBlockWeights * 34;
    case kQ4_0:
      return count / kBlockWeights * 18;
    default:
      return count / kBlockWeights * 20;
  }
}

/** Bytes of a block. */
template <uint32_t DTYPE>
FLASHLM_INLINE constexpr uint64_t blockBytes() {
  return DTYPE == kQ8_0 ? 34 : DTYPE == kQ4_0 ? 18 : 20;
}

FLASHLM_INLINE constexpr bool isBlockDtype(uint32_t dtype) { return dtype >= kQ8_0; }

}  // namespace flashlm

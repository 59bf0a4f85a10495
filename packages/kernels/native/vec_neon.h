// Vectors of 128 bits: Advanced SIMD of 64-bit ARM, with dot products where the compiler's flags have them.
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "prefetch.h"

namespace {

constexpr int W = 4;
using F = float32x4_t;

inline F fZero() { return vdupq_n_f32(0); }
inline F fSet(float x) { return vdupq_n_f32(x); }
inline F fLoad(const float* p) { return vld1q_f32(p); }
inline void fStore(float* p, F v) { vst1q_f32(p, v); }
inline F fAdd(F a, F b) { return vaddq_f32(a, b); }
inline F fSub(F a, F b) { return vsubq_f32(a, b); }
inline F fMul(F a, F b) { return vmulq_f32(a, b); }
inline F fMax(F a, F b) { return vmaxq_f32(a, b); }
inline F fMin(F a, F b) { return vminq_f32(a, b); }
/** a * b + c, rounded once. */
inline F fFma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
inline F fAbs(F a) { return vabsq_f32(a); }
inline float fSum(F v) { return vaddvq_f32(v); }
inline float fLargest(F v) { return vmaxvq_f32(v); }
FLASHLM_INLINE F fHalf(const void* p) {
  uint16x4_t bits;
  std::memcpy(&bits, p, 8);
  return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}
/** 32 f16. */
FLASHLM_INLINE void fHalves(const void* p, F out[8]) {
  for (int v = 0; v < 8; v++) out[v] = fHalf(static_cast<const uint8_t*>(p) + v * 2 * W);
}
FLASHLM_INLINE F fBrain(const void* p) {
  uint16x4_t bits;
  std::memcpy(&bits, p, 8);
  return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
}
FLASHLM_INLINE F fBytes(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}
/** 32 nibbles of 16 bytes, low ones first, less `off`. */
FLASHLM_INLINE void fNibbles(const uint8_t* p, int off, F out[8]) {
  const uint8x16_t bytes = vld1q_u8(p);
  const int8x16_t less = vdupq_n_s8(static_cast<int8_t>(off));
  const int8x16_t halves[2] = {
      vsubq_s8(vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15))), less), vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4)), less)};
  for (int h = 0; h < 2; h++) {
    const int16x8_t wide[2] = {vmovl_s8(vget_low_s8(halves[h])), vmovl_s8(vget_high_s8(halves[h]))};
    for (int i = 0; i < 2; i++) {
      out[4 * h + 2 * i] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide[i])));
      out[4 * h + 2 * i + 1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide[i])));
    }
  }
}
inline void fStoreHalf(uint16_t* p, F v) {
  const uint16x4_t bits = vreinterpret_u16_f16(vcvt_f16_f32(v));
  std::memcpy(p, &bits, 8);
}
/** Rounds to even; |v| below 2^31. */
inline void fStoreRounded(int32_t* p, F v) { vst1q_s32(p, vcvtnq_s32_f32(v)); }
FLASHLM_INLINE float halfToFloat(uint16_t bits) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0); }
inline uint16_t floatToHalf(float x) { return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0); }

// Packed rows: 4 rows in lanes, four bytes of each.
constexpr int IW = 4;
using I = int32x4_t;
inline I iSet(int32_t x) { return vdupq_n_s32(x); }
inline I iLoad(const void* p) { return vld1q_s32(static_cast<const int32_t*>(p)); }
inline I iSpread(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return vdupq_n_s32(four);
}
inline F iFloat(I v) { return vcvtq_f32_s32(v); }
/** Signed weights are packed as they are. */
constexpr int kPackedOffset = 0;
inline I dotFours(I sum, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sum, w, x);
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
  const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(w), vget_high_s8(x)));
  return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}
inline I iDotSigned(I sum, I w, I x) { return dotFours(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x)); }
/** Nibbles are far below 128, so that signed products do. */
inline I iDotUnsigned(I sum, I w, I x) { return iDotSigned(sum, w, x); }

/** Rows that one call of the block dots covers. */
constexpr int kQ8Rows = 4;

inline F halvesOfRows(const uint8_t* const rows[4], uint64_t offset) {
  uint16_t bits[4];
  for (int r = 0; r < 4; r++) std::memcpy(bits + r, rows[r] + offset, 2);
  return fHalf(bits);
}

/** Sums of so many rows. */
using Q8Sums = F;
inline Q8Sums q8Zero() { return fZero(); }
inline void q8Store(float* p, Q8Sums v) { fStore(p, v); }

/** Adds blocks `first` to `end` to a vector of four rows' sums. */
template <uint32_t DTYPE>
FLASHLM_INLINE F q8Blocks(const uint8_t* const rows[4], const Ahead& ahead, uint32_t first, uint32_t end, const int8_t* x, const float* xScales, const int32_t* xSums, F sum) {
  constexpr uint64_t kBytes = flashlm::blockBytes<DTYPE>();
  for (uint32_t b = first; b < end; b++) {
    const uint64_t at = b * kBytes;
    prefetchRows<4>(ahead, at);
    const int8x16_t first = vld1q_s8(x + b * 32);
    const int8x16_t second = vld1q_s8(x + b * 32 + 16);
    I partial[4];
    for (int r = 0; r < 4; r++) {
      const uint8_t* row = rows[r] + at;
      int8x16_t low, high;
      if (DTYPE == flashlm::kQ8_0) {
        low = vld1q_s8(reinterpret_cast<const int8_t*>(row + 2));
        high = vld1q_s8(reinterpret_cast<const int8_t*>(row + 18));
      } else {
        const uint8x16_t bytes = vld1q_u8(row + (DTYPE == flashlm::kQ4_0 ? 2 : 4));
        low = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
        high = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
      }
      partial[r] = dotFours(dotFours(vdupq_n_s32(0), low, first), high, second);
    }
    I dots = vpaddq_s32(vpaddq_s32(partial[0], partial[1]), vpaddq_s32(partial[2], partial[3]));
    if (DTYPE == flashlm::kQ4_0) dots = vsubq_s32(dots, vdupq_n_s32(8 * xSums[b]));
    const F xScale = fSet(xScales[b]);
    sum = fFma(vcvtq_f32_s32(dots), fMul(halvesOfRows(rows, at), xScale), sum);
    if (DTYPE == flashlm::kQ4_1) sum = fFma(fMul(halvesOfRows(rows, at + 2), xScale), fSet(static_cast<float>(xSums[b])), sum);
  }
  return sum;
}

/** Rows and tokens of a register tile of f32 sums. */
constexpr int kTileRows = 4;
constexpr int kTileTokens = 4;

/** Rows of f16 that a down projection adds together where a thread takes a short piece of each. */
constexpr int kShortRows = 8;

}  // namespace

// Vectors of 256 bits: AVX2, FMA, F16C.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "prefetch.h"

namespace {

constexpr int W = 8;
using F = __m256;

inline F fZero() { return _mm256_setzero_ps(); }
inline F fSet(float x) { return _mm256_set1_ps(x); }
inline F fLoad(const float* p) { return _mm256_loadu_ps(p); }
inline void fStore(float* p, F v) { _mm256_storeu_ps(p, v); }
inline F fAdd(F a, F b) { return _mm256_add_ps(a, b); }
inline F fSub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F fMul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F fMax(F a, F b) { return _mm256_max_ps(a, b); }
inline F fMin(F a, F b) { return _mm256_min_ps(a, b); }
/** a * b + c, rounded once. */
inline F fFma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F fAbs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline float fSum(F v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
inline float fLargest(F v) {
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}
FLASHLM_INLINE F fHalf(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
/** 32 f16. */
FLASHLM_INLINE void fHalves(const void* p, F out[4]) {
  for (int v = 0; v < 4; v++) out[v] = fHalf(static_cast<const uint8_t*>(p) + v * 2 * W);
}
FLASHLM_INLINE F fBrain(const void* p) {
  const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
FLASHLM_INLINE F fBytes(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
/** 32 nibbles of 16 bytes, low ones first, less `off`. */
FLASHLM_INLINE void fNibbles(const uint8_t* p, int off, F out[4]) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i less = _mm_set1_epi8(static_cast<char>(off));
  const __m128i halves[2] = {_mm_sub_epi8(_mm_and_si128(bytes, mask), less), _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask), less)};
  for (int h = 0; h < 2; h++) {
    out[2 * h] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[h]));
    out[2 * h + 1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(halves[h], 8)));
  }
}
inline void fStoreHalf(uint16_t* p, F v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/** Rounds to even; |v| below 2^31. */
inline void fStoreRounded(int32_t* p, F v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(v)); }
FLASHLM_INLINE float halfToFloat(uint16_t bits) { return _cvtsh_ss(bits); }
inline uint16_t floatToHalf(float x) { return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }

#include "vec_x86_q8.h"

// Packed rows: 8 rows in lanes, four bytes of each.
constexpr int IW = 8;
using I = __m256i;
inline I iSet(int32_t x) { return _mm256_set1_epi32(x); }
inline I iLoad(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
inline I iSpread(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
inline F iFloat(I v) { return _mm256_cvtepi32_ps(v); }
/** Signed weights are packed as they are. */
constexpr int kPackedOffset = 0;
inline I iDotSigned(I sum, I w, I x) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline I iDotUnsigned(I sum, I w, I x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}

/** Rows and tokens of a register tile of f32 sums. */
constexpr int kTileRows = 3;
constexpr int kTileTokens = 4;

/** Rows of f16 that a down projection adds together where a thread takes a short piece of each. */
constexpr int kShortRows = 8;

}  // namespace

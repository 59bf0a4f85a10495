// Vectors of 512 bits: AVX-512 F, BW, VL, DQ, with VNNI where the compiler's flags have it.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "prefetch.h"

namespace {

constexpr int W = 16;
using F = __m512;

inline F fZero() { return _mm512_setzero_ps(); }
inline F fSet(float x) { return _mm512_set1_ps(x); }
inline F fLoad(const float* p) { return _mm512_loadu_ps(p); }
inline void fStore(float* p, F v) { _mm512_storeu_ps(p, v); }
inline F fAdd(F a, F b) { return _mm512_add_ps(a, b); }
inline F fSub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F fMul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F fMax(F a, F b) { return _mm512_max_ps(a, b); }
inline F fMin(F a, F b) { return _mm512_min_ps(a, b); }
/** a * b + c, rounded once. */
inline F fFma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F fAbs(F a) { return _mm512_abs_ps(a); }
inline float fSum(F v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
inline float fLargest(F v) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 most = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  most = _mm_max_ps(most, _mm_movehl_ps(most, most));
  return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}
FLASHLM_INLINE F fHalf(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
/** 32 f16. Loaded as one cache line: two loads of half a line each would wait for it twice. */
FLASHLM_INLINE void fHalves(const void* p, F out[2]) {
  __m512i line = _mm512_loadu_si512(p);
#if defined(__GNUC__) || defined(__clang__)
  // Or the compiler would load half of it a second time.
  __asm__ volatile("" : "+v"(line));
#endif
  out[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(line));
  out[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(line, 1));
}
FLASHLM_INLINE F fBrain(const void* p) {
  const __m256i bits = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
FLASHLM_INLINE F fBytes(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
/** 32 nibbles of 16 bytes, low ones first, less `off`. */
FLASHLM_INLINE void fNibbles(const uint8_t* p, int off, F out[2]) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i less = _mm_set1_epi8(static_cast<char>(off));
  out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_sub_epi8(_mm_and_si128(bytes, mask), less)));
  out[1] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask), less)));
}
inline void fStoreHalf(uint16_t* p, F v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/** Rounds to even; |v| below 2^31. */
inline void fStoreRounded(int32_t* p, F v) { _mm512_storeu_si512(p, _mm512_cvtps_epi32(v)); }
FLASHLM_INLINE float halfToFloat(uint16_t bits) { return _cvtsh_ss(bits); }
inline uint16_t floatToHalf(float x) { return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT)); }

#include "vec_x86_q8.h"

// Packed rows: 16 rows in lanes, four bytes of each.
constexpr int IW = 16;
using I = __m512i;
inline I iSet(int32_t x) { return _mm512_set1_epi32(x); }
inline I iLoad(const void* p) { return _mm512_load_si512(p); }
inline I iSpread(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
inline F iFloat(I v) { return _mm512_cvtepi32_ps(v); }
inline I iDotUnsigned(I sum, I w, I x) {
#if defined(__AVX512VNNI__)
  return _mm512_dpbusd_epi32(sum, w, x);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), _mm512_set1_epi16(1)));
#endif
}
#if defined(__AVX512VNNI__)
/** Signed weights are packed with 128 added, and the sum starts 128 times the values' sum lower. */
constexpr int kPackedOffset = 128;
inline I iDotSigned(I sum, I w, I x) { return _mm512_dpbusd_epi32(sum, w, x); }
#else
/** Signed weights are packed as they are: pairs of unsigned bytes would overflow 16 bits. */
constexpr int kPackedOffset = 0;
inline I iDotSigned(I sum, I w, I x) {
  const __m512i signedX = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
  const __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(w), signedX);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

/** Rows and tokens of a register tile of f32 sums. */
constexpr int kTileRows = 4;
constexpr int kTileTokens = 6;

/** Rows of f16 that a down projection adds together where a thread takes a short piece of each. */
constexpr int kShortRows = 16;

}  // namespace

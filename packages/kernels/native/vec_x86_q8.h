// Included by the x86 vector headers: integer dots of blocks of eight rows with one vector, in 256 bits.

/** Rows that one call of the block dots covers. */
constexpr int kQ8Rows = 8;

/** Sums of four products each: of the block's 32 int8 weights with int8 values. */
inline __m256i dotSigned(__m256i w, __m256i x) {
  const __m256i size = _mm256_abs_epi8(w);
  const __m256i signedX = _mm256_sign_epi8(x, w);
#if defined(__AVX512VNNI__)
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), size, signedX);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(size, signedX), _mm256_set1_epi16(1));
#endif
}
inline __m256i dotUnsigned(__m256i w, __m256i x) {
#if defined(__AVX512VNNI__)
  return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x);
#else
  return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
#endif
}

/** 32 nibbles of 16 bytes, low ones first. */
inline __m256i nibbles(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(bytes), _mm_srli_epi16(bytes, 4), 1);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/** Sums of the lanes of eight vectors, in order. */
inline __m256i sumsOfEight(const __m256i v[8]) {
  const __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/** The f16 that stand at the same offset of eight rows. */
inline __m256 halvesOfRows(const uint8_t* const rows[8], uint64_t offset) {
  uint16_t bits[8];
  for (int r = 0; r < 8; r++) std::memcpy(bits + r, rows[r] + offset, 2);
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bits)));
}

/** Sums of so many rows. */
using Q8Sums = __m256;
inline Q8Sums q8Zero() { return _mm256_setzero_ps(); }
inline void q8Store(float* p, Q8Sums v) { _mm256_storeu_ps(p, v); }

/** Adds blocks `first` to `end` to a vector of eight rows' sums. */
template <uint32_t DTYPE>
FLASHLM_INLINE __m256 q8Blocks(const uint8_t* const rows[8], const Ahead& ahead, uint32_t first, uint32_t end, const int8_t* x, const float* xScales, const int32_t* xSums, __m256 sum) {
  constexpr uint64_t kBytes = flashlm::blockBytes<DTYPE>();
  for (uint32_t b = first; b < end; b++) {
    const uint64_t at = b * kBytes;
    prefetchRows<8>(ahead, at);
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + b * 32));
    __m256i partial[8];
    for (int r = 0; r < 8; r++) {
      const uint8_t* row = rows[r] + at;
      if (DTYPE == flashlm::kQ8_0) partial[r] = dotSigned(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 2)), values);
      else partial[r] = dotUnsigned(nibbles(row + (DTYPE == flashlm::kQ4_0 ? 2 : 4)), values);
    }
    __m256i dots = sumsOfEight(partial);
    if (DTYPE == flashlm::kQ4_0) dots = _mm256_sub_epi32(dots, _mm256_set1_epi32(8 * xSums[b]));
    const __m256 xScale = _mm256_set1_ps(xScales[b]);
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), _mm256_mul_ps(halvesOfRows(rows, at), xScale), sum);
    if (DTYPE == flashlm::kQ4_1) {
      const __m256 count = _mm256_set1_ps(static_cast<float>(xSums[b]));
      sum = _mm256_fmadd_ps(_mm256_mul_ps(halvesOfRows(rows, at + 2), xScale), count, sum);
    }
  }
  return sum;
}

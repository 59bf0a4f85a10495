#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#define FLASH_IO_CRC_X64 1
#include <immintrin.h>
#if defined(_MSC_VER)
#include <intrin.h>
#define FLASH_IO_TARGET
#else
#define FLASH_IO_TARGET __attribute__((target("sse4.2,pclmul")))
#define FLASH_IO_WIDE_TARGET __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))
#endif
#elif defined(__aarch64__) && defined(__GNUC__)
#define FLASH_IO_CRC_ARM64 1
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__clang__)
#define FLASH_IO_TARGET __attribute__((target("crc")))
#else
#define FLASH_IO_TARGET __attribute__((target("+crc")))
#endif
#endif

namespace flash_io {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // x^32 + ... bit-reflected: bit 31 is x^0

/** Product of two polynomials modulo the CRC's, all bit-reflected. */
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 31; bit >= 0; bit--) {
    if ((a >> bit) & 1) product ^= b;
    b = (b & 1) ? (b >> 1) ^ kPolynomial : b >> 1;
  }
  return product;
}

/** x to the power `exponent` modulo the CRC's polynomial. */
constexpr uint32_t power(uint64_t exponent) {
  uint32_t result = 0x80000000;
  uint32_t square = 0x40000000;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, square);
    square = multiply(square, square);
  }
  return result;
}

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? (crc >> 1) ^ kPolynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    for (int step = 1; step < 8; step++) {
      const uint32_t before = tables[step - 1][byte];
      tables[step][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#if defined(FLASH_IO_CRC_X64) || defined(FLASH_IO_CRC_ARM64)

uint64_t load(const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, 8);
  return word;
}

#if defined(FLASH_IO_CRC_X64)

FLASH_IO_TARGET inline uint32_t step8(uint32_t crc, uint64_t word) {
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
}
FLASH_IO_TARGET inline uint32_t step1(uint32_t crc, uint8_t byte) { return _mm_crc32_u8(crc, byte); }

/** Exponents differ by 33: a carry-less product of reflected words stands one bit off, and `step8` multiplies by x^32. */
constexpr int kExponentLess = 33;

FLASH_IO_TARGET inline uint32_t shift(uint32_t a, uint32_t by_a, uint32_t b, uint32_t by_b) {
  const __m128i left = _mm_clmulepi64_si128(_mm_cvtsi32_si128(static_cast<int>(a)),
                                            _mm_cvtsi32_si128(static_cast<int>(by_a)), 0);
  const __m128i right = _mm_clmulepi64_si128(_mm_cvtsi32_si128(static_cast<int>(b)),
                                             _mm_cvtsi32_si128(static_cast<int>(by_b)), 0);
  return step8(0, static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_xor_si128(left, right))));
}

bool has_instruction() {
#if defined(_MSC_VER)
  int words[4];
  __cpuid(words, 1);
  return (words[2] & (1 << 20)) != 0 && (words[2] & (1 << 1)) != 0;
#else
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
#endif
}
constexpr const char* kInstruction = "sse4.2";

#else

FLASH_IO_TARGET inline uint32_t step8(uint32_t crc, uint64_t word) { return __crc32cd(crc, word); }
FLASH_IO_TARGET inline uint32_t step1(uint32_t crc, uint8_t byte) { return __crc32cb(crc, byte); }

constexpr int kExponentLess = 0;

inline uint32_t shift(uint32_t a, uint32_t by_a, uint32_t b, uint32_t by_b) {
  return multiply(a, by_a) ^ multiply(b, by_b);
}

bool has_instruction() {
#if defined(__linux__)
  constexpr unsigned long kHwcapCrc32 = 1 << 7;
  return (getauxval(AT_HWCAP) & kHwcapCrc32) != 0;
#else
  return true;  // every Apple processor of this architecture has it
#endif
}
constexpr const char* kInstruction = "armv8-crc";

#endif

/** Three streams side by side, because the instruction takes three cycles but one can start in each. */
template <size_t kStreamBytes>
FLASH_IO_TARGET inline uint32_t three_streams(uint32_t crc, const uint8_t*& data, size_t& length) {
  constexpr uint32_t kOnce = power(kStreamBytes * 8 - kExponentLess);
  constexpr uint32_t kTwice = power(kStreamBytes * 16 - kExponentLess);
  while (length >= 3 * kStreamBytes) {
    uint32_t second = 0;
    uint32_t third = 0;
    for (size_t at = 0; at < kStreamBytes; at += 8) {
      crc = step8(crc, load(data + at));
      second = step8(second, load(data + kStreamBytes + at));
      third = step8(third, load(data + 2 * kStreamBytes + at));
    }
    crc = shift(crc, kTwice, second, kOnce) ^ third;
    data += 3 * kStreamBytes;
    length -= 3 * kStreamBytes;
  }
  return crc;
}

FLASH_IO_TARGET uint32_t with_instruction(uint32_t crc, const uint8_t* data, size_t length) {
  crc = ~crc;
  crc = three_streams<4096>(crc, data, length);
  crc = three_streams<512>(crc, data, length);
  crc = three_streams<64>(crc, data, length);
  for (; length >= 8; data += 8, length -= 8) crc = step8(crc, load(data));
  for (; length > 0; data++, length--) crc = step1(crc, *data);
  return ~crc;
}

#if defined(FLASH_IO_WIDE_TARGET)

/** Factors that move the two halves of each 128 bits on by `bits`: a product of reflected words stands one bit off. */
FLASH_IO_WIDE_TARGET inline __m512i factors(uint64_t bits) {
  const long long low = static_cast<long long>(static_cast<uint64_t>(power(bits + 63)) << 32);
  const long long high = static_cast<long long>(static_cast<uint64_t>(power(bits - 1)) << 32);
  return _mm512_set_epi64(high, low, high, low, high, low, high, low);
}

/** `state` moved on, plus `next`. */
FLASH_IO_WIDE_TARGET inline __m512i fold(__m512i state, __m512i by, __m512i next) {
  const __m512i low = _mm512_clmulepi64_epi128(state, by, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(state, by, 0x11);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(low, high, next, kXorOfThree);
}

/** Folds 256 bytes at a time into 512 bits, and lets the instruction reduce what is left. */
FLASH_IO_WIDE_TARGET uint32_t with_wide_products(uint32_t crc, const uint8_t* data, size_t length) {
  constexpr size_t kBlockBytes = 256;
  if (length < 2 * kBlockBytes) return with_instruction(crc, data, length);
  static const __m512i kByBlock = factors(kBlockBytes * 8);
  static const __m512i kByVector = factors(512);
  __m512i state[4];
  for (int part = 0; part < 4; part++) state[part] = _mm512_loadu_si512(data + 64 * part);
  state[0] = _mm512_xor_si512(state[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc))));
  for (data += kBlockBytes, length -= kBlockBytes; length >= kBlockBytes; data += kBlockBytes, length -= kBlockBytes) {
    for (int part = 0; part < 4; part++) {
      state[part] = fold(state[part], kByBlock, _mm512_loadu_si512(data + 64 * part));
    }
  }
  for (int part = 1; part < 4; part++) state[part] = fold(state[part - 1], kByVector, state[part]);
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, state[3]);
  uint32_t reduced = 0;
  for (const uint64_t word : words) reduced = step8(reduced, word);
  return with_instruction(~reduced, data, length);
}

bool has_wide_products() {
  return has_instruction() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
}
constexpr const char* kWide = "vpclmulqdq";

#else

uint32_t with_wide_products(uint32_t crc, const uint8_t* data, size_t length) {
  return with_instruction(crc, data, length);
}
bool has_wide_products() { return false; }
constexpr const char* kWide = kInstruction;

#endif

#else

bool has_instruction() { return false; }
bool has_wide_products() { return false; }
uint32_t with_wide_products(uint32_t crc, const uint8_t* data, size_t length) {
  return crc32c_table(crc, data, length);
}
constexpr const char* kWide = "table";
uint32_t with_instruction(uint32_t crc, const uint8_t* data, size_t length) {
  return crc32c_table(crc, data, length);
}
constexpr const char* kInstruction = "table";

#endif

using Method = uint32_t (*)(uint32_t, const uint8_t*, size_t);

Method choose_method() {
  if (has_wide_products()) return with_wide_products;
  return has_instruction() ? with_instruction : crc32c_table;
}

const Method kMethod = choose_method();

}  // namespace

uint32_t crc32c_table(uint32_t crc, const uint8_t* data, size_t length) {
  crc = ~crc;
  for (; length >= 8; data += 8, length -= 8) {
    uint32_t next = crc;
    for (int byte = 0; byte < 4; byte++) next ^= static_cast<uint32_t>(data[byte]) << (8 * byte);
    crc = 0;
    for (int byte = 0; byte < 4; byte++) crc ^= kTables[7 - byte][(next >> (8 * byte)) & 0xff];
    for (int byte = 4; byte < 8; byte++) crc ^= kTables[7 - byte][data[byte]];
  }
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xff];
  return ~crc;
}

uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t length) { return kMethod(crc, data, length); }

const char* crc32c_method() {
  if (kMethod == crc32c_table) return "table";
  return kMethod == with_instruction ? kInstruction : kWide;
}

size_t crc32c_ways(Crc32cWay out[3]) {
  size_t count = 0;
  out[count++] = {"table", crc32c_table};
  if (has_instruction()) out[count++] = {kInstruction, with_instruction};
  if (has_wide_products()) out[count++] = {kWide, with_wide_products};
  return count;
}

}  // namespace flash_io

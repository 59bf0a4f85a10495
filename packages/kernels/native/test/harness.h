// Memory for checks of the kernels: an arena in which everything but the operands is off limits to the sanitizer or to valgrind.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../engine.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define ALLOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#elif __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define FORBID(p, n) (void)VALGRIND_MAKE_MEM_NOACCESS(p, n)
#define ALLOW(p, n) (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n)
#else
#define FORBID(p, n) (void)0
#define ALLOW(p, n) (void)0
#endif

namespace flashlm {

/** Bytes between operands that nothing may touch. */
constexpr uint64_t kGapBytes = 64;

class Arena {
 public:
  explicit Arena(uint64_t lengthBytes) : bytes_(lengthBytes) { FORBID(bytes_.data(), lengthBytes); }
  ~Arena() { ALLOW(bytes_.data(), bytes_.size()); }

  uint8_t* data() { return bytes_.data(); }
  uint64_t size() const { return bytes_.size(); }

  /** An operand of exactly so many bytes. */
  uint64_t allocate(uint64_t lengthBytes) {
    const uint64_t at = next_;
    next_ = (at + lengthBytes + kGapBytes + 15) / 16 * 16;
    if (next_ > bytes_.size()) {
      std::fprintf(stderr, "the harness's arena is too small\n");
      std::abort();
    }
    ALLOW(bytes_.data() + at, lengthBytes);
    std::memset(bytes_.data() + at, 0, lengthBytes);
    return at;
  }
  uint64_t word(uint32_t value) { return words({value}); }
  uint64_t words(const std::vector<uint32_t>& values) {
    const uint64_t at = allocate(values.size() * 4);
    std::memcpy(bytes_.data() + at, values.data(), values.size() * 4);
    return at;
  }
  uint64_t floats(uint64_t count) {
    const uint64_t at = allocate(count * 4);
    float* values = reinterpret_cast<float*>(bytes_.data() + at);
    for (uint64_t i = 0; i < count; i++) values[i] = random() - 0.5f;
    return at;
  }
  /** Weights: any bits where they are numbers, small scales where a byte decides the size. */
  uint64_t weights(uint32_t dtype, uint64_t count) {
    static const uint64_t steps[] = {4, 2, 2, 34, 18, 20};
    static const uint64_t firsts[] = {3, 1, 1, 1, 1, 1};
    static const uint8_t tops[] = {0x3c, 0x28, 0x3c, 0x14, 0x20, 0x20};
    const uint64_t lengthBytes = rowBytes(dtype, count);
    const uint64_t at = allocate(lengthBytes);
    uint8_t* bytes = bytes_.data() + at;
    for (uint64_t i = 0; i < lengthBytes; i++) bytes[i] = static_cast<uint8_t>(random() * 255);
    for (uint64_t i = firsts[dtype]; i < lengthBytes; i += steps[dtype]) bytes[i] = tops[dtype];
    if (dtype == kQ4_1)
      for (uint64_t i = 3; i < lengthBytes; i += 20) bytes[i] = 0xa0;
    return at;
  }
  std::vector<uint8_t> copy(uint64_t at, uint64_t lengthBytes) { return {bytes_.data() + at, bytes_.data() + at + lengthBytes}; }

 private:
  float random() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<float>(state_ >> 40) / 16777216.0f;
  }
  std::vector<uint8_t> bytes_;
  uint64_t next_ = 64;
  uint64_t state_ = 42;
};

}  // namespace flashlm

#include "variants.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace flashlm {
namespace {

#if defined(__x86_64__)

struct X86 {
  bool fma, f16c, avx2, avx512, vnni;
};

/** State that the system saves for threads: bits 1, 2 for 256 bits, 5 to 7 too for 512. */
uint32_t savedState() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

X86 readCpu() {
  X86 cpu = {};
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
  const bool saves = c >> 27 & 1;
  const uint32_t state = saves ? savedState() : 0;
  if ((state & 6) != 6) return cpu;
  cpu.fma = c >> 12 & 1;
  cpu.f16c = c >> 29 & 1;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  cpu.avx2 = b >> 5 & 1;
  // F, DQ, BW and VL.
  constexpr uint32_t kWanted = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  cpu.avx512 = (b & kWanted) == kWanted && (state & 0xe6) == 0xe6;
  cpu.vnni = cpu.avx512 && (c >> 11 & 1);
  return cpu;
}

#elif defined(__aarch64__)

bool hasDotProducts() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;
  constexpr unsigned long kCrc32 = 1ul << 7;
  const unsigned long bits = getauxval(AT_HWCAP);
  return (bits & kDotProducts) != 0 && (bits & kCrc32) != 0;
#elif defined(__APPLE__)
  int has = 0;
  size_t length = sizeof(has);
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &length, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}

#endif

}  // namespace

const VariantChoice* variantChoices(uint32_t* count) {
#if defined(__x86_64__)
  static const X86 cpu = readCpu();
  static const char* const avx2 = !cpu.avx2 ? "AVX2" : !cpu.fma ? "FMA" : !cpu.f16c ? "F16C" : nullptr;
  static const char* const avx512 = avx2 ? avx2 : cpu.avx512 ? nullptr : "AVX-512 F, BW, VL and DQ";
  static const VariantChoice choices[] = {
      {&kVariantAvx512Vnni, avx512 ? avx512 : cpu.vnni ? nullptr : "AVX-512 VNNI"},
      {&kVariantAvx512, avx512},
      {&kVariantAvx2, avx2},
  };
  *count = 3;
  return choices;
#elif defined(__aarch64__)
  static const VariantChoice choices[] = {
      {&kVariantNeonDot, hasDotProducts() ? nullptr : "dot products (FEAT_DotProd) and CRC32"},
      {&kVariantNeon, nullptr},
  };
  *count = 2;
  return choices;
#else
  *count = 0;
  return nullptr;
#endif
}

}  // namespace flashlm

// f32 to every dtype: nearest even, blocks as ggml's reference quantisers define them.
#pragma once

namespace {

inline uint16_t floatToBrain(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline void storeHalf(uint8_t* p, float x) {
  const uint16_t bits = floatToHalf(x);
  std::memcpy(p, &bits, 2);
}

inline float inverseOf(float scale) { return scale == 0 ? 0 : 1 / scale; }

inline void encodeQ8(const float* x, uint8_t* block) {
  float most = 0;
  for (int i = 0; i < 32; i++) most = __builtin_fabsf(x[i]) > most ? __builtin_fabsf(x[i]) : most;
  const float scale = most / 127.0f;
  const float inverse = inverseOf(scale);
  storeHalf(block, scale);
  for (int i = 0; i < 32; i++) {
    // Half away from zero, in f64 so that adding it is exact.
    const double scaled = static_cast<double>(x[i] * inverse);
    const int size = static_cast<int>((scaled < 0 ? -scaled : scaled) + 0.5);
    block[2 + i] = static_cast<uint8_t>(scaled < 0 ? -size : size);
  }
}

inline uint8_t nibbleOf(float scaled) {
  const int number = static_cast<int>(scaled);
  return static_cast<uint8_t>(number > 15 ? 15 : number);
}

inline void encodeQ4(const float* x, uint8_t* block) {
  float extreme = 0;
  for (int i = 0; i < 32; i++) extreme = __builtin_fabsf(x[i]) > __builtin_fabsf(extreme) ? x[i] : extreme;
  const float scale = extreme / -8.0f;
  const float inverse = inverseOf(scale);
  storeHalf(block, scale);
  for (int i = 0; i < 16; i++) block[2 + i] = nibbleOf(x[i] * inverse + 8.5f) | nibbleOf(x[i + 16] * inverse + 8.5f) << 4;
}

inline void encodeQ4WithMinimum(const float* x, uint8_t* block) {
  float lowest = x[0];
  float highest = x[0];
  for (int i = 1; i < 32; i++) {
    lowest = x[i] < lowest ? x[i] : lowest;
    highest = x[i] > highest ? x[i] : highest;
  }
  const float scale = (highest - lowest) / 15.0f;
  const float inverse = inverseOf(scale);
  storeHalf(block, scale);
  storeHalf(block + 2, lowest);
  for (int i = 0; i < 16; i++)
    block[4 + i] = nibbleOf((x[i] - lowest) * inverse + 0.5f) | nibbleOf((x[i + 16] - lowest) * inverse + 0.5f) << 4;
}

inline void encodeHalves(const float* x, uint32_t count, uint8_t* target) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(target);
  uint32_t i = 0;
  for (; i + W <= count; i += W) fStoreHalf(halves + i, fLoad(x + i));
  for (; i < count; i++) halves[i] = floatToHalf(x[i]);
}

/** Writes `count` f32 as a row of a dtype; whole blocks where it has blocks. */
inline void encodeRow(uint32_t dtype, const float* x, uint32_t count, uint8_t* target) {
  switch (dtype) {
    case kF32:
      std::memmove(target, x, count * sizeof(float));
      return;
    case kF16:
      return encodeHalves(x, count, target);
    case kBf16:
      for (uint32_t i = 0; i < count; i++) reinterpret_cast<uint16_t*>(target)[i] = floatToBrain(x[i]);
      return;
    case kQ8_0:
      for (uint32_t i = 0; i < count; i += 32, target += 34) encodeQ8(x + i, target);
      return;
    case kQ4_0:
      for (uint32_t i = 0; i < count; i += 32, target += 18) encodeQ4(x + i, target);
      return;
    default:
      for (uint32_t i = 0; i < count; i += 32, target += 20) encodeQ4WithMinimum(x + i, target);
  }
}

}  // namespace

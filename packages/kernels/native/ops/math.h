// Functions of our own in f64, written without branches so that compilers turn loops over them into vectors; no host
// library decides a result.
#pragma once

namespace {

/** exp(x). Always inlined: loops that call it would stay scalar (bench/ops.mjs, attention). */
FLASHLM_INLINE double ownExp(double x) {
  // Beyond these the result is 0 or infinity in f32, and scaling by one power of two would leave the range.
  const double low = x < -700 ? -700 : x;
  const double bounded = low > 700 ? 700 : low;
  // Adding and taking away 1.5 * 2^52 rounds to even; the integer stands in the low bits meanwhile.
  const double shifted = bounded * 1.4426950408889634 + 6755399441055744.0;
  const double power = shifted - 6755399441055744.0;
  const double r = bounded - power * 0.6931471803691238 - power * 1.9082149292705877e-10;
  double sum = 1.0 + r * (1.0 / 12);
  sum = 1.0 + r * sum * (1.0 / 11);
  sum = 1.0 + r * sum * (1.0 / 10);
  sum = 1.0 + r * sum * (1.0 / 9);
  sum = 1.0 + r * sum * (1.0 / 8);
  sum = 1.0 + r * sum * (1.0 / 7);
  sum = 1.0 + r * sum * (1.0 / 6);
  sum = 1.0 + r * sum * (1.0 / 5);
  sum = 1.0 + r * sum * (1.0 / 4);
  sum = 1.0 + r * sum * (1.0 / 3);
  sum = 1.0 + r * sum * (1.0 / 2);
  sum = 1.0 + r * sum;
  uint64_t bits;
  std::memcpy(&bits, &shifted, 8);
  bits = (bits + 1023) << 52;
  double scale;
  std::memcpy(&scale, &bits, 8);
  return sum * scale;
}

#include "erfc_series.h"

/** erfc(z): exp(-z^2) times a Chebyshev series in t = 2 / (2 + |z|), mirrored for negative z. */
inline double ownErfc(double z) {
  const double size = z < 0 ? -z : z;
  const double t = 2 / (2 + size);
  const double u = 4 * t - 2;
  double next = 0, after = 0;
  for (int i = kErfcTerms - 1; i > 0; i--) {
    const double now = u * next - after + kErfcSeries[i];
    after = next;
    next = now;
  }
  const double series = 0.5 * u * next - after + kErfcSeries[0];
  const double tail = series * ownExp(-size * size);
  return z < 0 ? 2 - tail : tail;
}

/** x / (1 + exp(-y)), and 0 at minus infinity. */
inline double gated(double x, double y) {
  const double result = x / (1 + ownExp(-y));
  return x < -3.5e38 ? 0 : result;
}

/** tanh(x) in f64. */
inline double ownTanh(double x) {
  const double size = x < 0 ? -x : x;
  // Near 0 the quotient would lose its digits.
  const double square = x * x;
  const double small = x * (1 - square * (1.0 / 3) * (1 - square * 0.4));
  const double e = ownExp(-2 * size);
  const double large = (1 - e) / (1 + e);
  const double mirrored = x < 0 ? -large : large;
  return size < 0.01 ? small : mirrored;
}

/** Applies an activation to `count` values in place; results at or below a positive threshold become zero. */
inline void activate(uint32_t kind, float threshold, float* x, uint32_t count) {
  switch (kind) {
    case kRelu:
      for (uint32_t i = 0; i < count; i++) x[i] = x[i] > 0 || x[i] != x[i] ? x[i] : 0;
      break;
    case kRelu2:
      for (uint32_t i = 0; i < count; i++) x[i] = x[i] > 0 || x[i] != x[i] ? x[i] * x[i] : 0;
      break;
    case kSilu:
      for (uint32_t i = 0; i < count; i++) x[i] = static_cast<float>(gated(x[i], x[i]));
      break;
    case kGelu:
      for (uint32_t i = 0; i < count; i++) {
        const double wide = x[i];
        const double result = 0.5 * wide * ownErfc(wide * -0.7071067811865476);
        x[i] = static_cast<float>(wide < -3.5e38 ? 0 : result);
      }
      break;
    default:
      // 0.5 (1 + tanh u) is 1 / (1 + exp(-2u)), which keeps its digits where tanh is near -1.
      for (uint32_t i = 0; i < count; i++) {
        const double wide = x[i];
        x[i] = static_cast<float>(gated(wide, 1.5957691216057308 * (wide + 0.044715 * wide * wide * wide)));
      }
  }
  if (threshold > 0)
    for (uint32_t i = 0; i < count; i++) x[i] = x[i] <= threshold ? 0 : x[i];
}

}  // namespace

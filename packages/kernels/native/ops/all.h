// The kernels of one variant. Included once per instruction set, after its vector header. Everything here has internal linkage,
// and nothing of the standard library's templates is used: the linker would merge their copies, and a
// machine without these instructions might get this one.
#pragma once

#include "weights.h"
#include "source.h"
#include "dots.h"
#include "tiles.h"
#include "packed.h"
#include "groups.h"
#include "math.h"
#include "matmul.h"
#include "ffn_activations.h"
#include "ffn_down.h"
#include "neuron_scores.h"
#include "attention.h"
#include "encode.h"
#include "rows_each.h"
#include "elementwise.h"
#include "crc32c.h"

namespace {

void runOp(Run& run, const Op& op, uint32_t tokens) {
  switch (op.code) {
    case kOpGatherRows:
      return gatherRows(run, op, tokens);
    case kOpNorm:
      return norm(run, op, tokens);
    case kOpMatmul:
      return matmul(run, op, tokens);
    case kOpRope:
      return rope(run, op, tokens);
    case kOpStoreKeyValue:
      return storeKeyValue(run, op, tokens);
    case kOpAttention:
      return attention(run, op, tokens);
    case kOpFfnActivations:
      return ffnActivations(run, op, tokens);
    case kOpFfnDown:
      return ffnDown(run, op, tokens);
    case kOpNeuronScores:
      return neuronScores(run, op, tokens);
    case kOpCrc32c:
      return crc32c(run, op, tokens);
    default:
      return rowOp(run, op, tokens);
  }
}

/** Reads memory in four streams' worth of sums and nothing else. */
float readMemory(const uint8_t* bytes, uint64_t lengthBytes) {
  F sums[4] = {fZero(), fZero(), fZero(), fZero()};
  const float* floats = reinterpret_cast<const float*>(bytes);
  const uint64_t count = lengthBytes / 4;
  for (uint64_t i = 0; i + 4 * W <= count; i += 4 * W)
    for (int v = 0; v < 4; v++) sums[v] = fAdd(sums[v], fLoad(floats + i + v * W));
  return fSum(fAdd(fAdd(sums[0], sums[1]), fAdd(sums[2], sums[3])));
}

/** Independent chains of fused multiply-adds, enough to fill every unit. */
uint32_t multiplyAdd(uint64_t count, float* sink) {
  constexpr int kChains = 12;
  F sums[kChains];
  const F a = fSet(sink[0]);
  const F b = fSet(sink[1]);
  for (int i = 0; i < kChains; i++) sums[i] = fSet(static_cast<float>(i));
  for (uint64_t i = 0; i < count; i += kChains)
    for (int c = 0; c < kChains; c++) sums[c] = fFma(sums[c], a, b);
  for (int i = 1; i < kChains; i++) sums[0] = fAdd(sums[0], sums[i]);
  sink[2] = fSum(sums[0]);
  return W;
}

}  // namespace

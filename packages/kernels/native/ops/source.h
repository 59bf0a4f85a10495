// Activations that rows are multiplied with: f32, and for precision "q8" blocks of 32 int8 as well.
#pragma once

namespace {

/** `[tokenCount, columnCount]`. */
struct Source {
  const float* values = nullptr;
  uint32_t tokenCount = 0;
  uint32_t columnCount = 0;
  // Only where dots are of integers; blocks `[tokenCount, columnCount / 32]`.
  int8_t* numbers = nullptr;
  float* scales = nullptr;
  int32_t* sums = nullptr;
  uint32_t blockCount() const { return columnCount / 32; }
};

/** d = max|x| / 127, q = x / d rounded to even: the contract's rule, vector by vector. */
inline void quantiseBlock(const float* x, int8_t* numbers, float* scale, int32_t* sum) {
  F values[32 / W];
  F most = fZero();
  for (int j = 0; j < 32 / W; j++) {
    values[j] = fLoad(x + j * W);
    most = fMax(most, fAbs(values[j]));
  }
  const float d = fLargest(most) / 127.0f;
  const F inverse = fSet(d == 0 ? 0 : 1 / d);
  int32_t rounded[32];
  for (int j = 0; j < 32 / W; j++) {
    const F scaled = fMin(fMax(fMul(values[j], inverse), fSet(-127)), fSet(127));
    fStoreRounded(rounded + j * W, scaled);
  }
  int32_t total = 0;
  for (int i = 0; i < 32; i++) {
    numbers[i] = static_cast<int8_t>(rounded[i]);
    total += rounded[i];
  }
  *scale = d;
  *sum = total;
}

/** Blocks that are worth a claim of their own. */
constexpr uint32_t kQuantiseBlocks = 1024;

inline void quantisePiece(void* job, uint32_t piece, uint32_t) {
  const Source& source = *static_cast<const Source*>(job);
  const uint32_t all = source.tokenCount * source.blockCount();
  const uint32_t end = leastOf(all, (piece + 1) * kQuantiseBlocks);
  for (uint32_t b = piece * kQuantiseBlocks; b < end; b++) {
    const uint64_t at = static_cast<uint64_t>(b) * 32;
    quantiseBlock(source.values + at, source.numbers + at, source.scales + b, source.sums + b);
  }
}

/** A source; quantised, in memory that is the run's until the next call, where integer dots are asked for. */
inline Source makeSource(Run& run, const float* values, uint32_t tokens, uint32_t columns, bool quantised) {
  Source source;
  source.values = values;
  source.tokenCount = tokens;
  source.columnCount = columns;
  if (!quantised) return source;
  const uint64_t blocks = static_cast<uint64_t>(tokens) * source.blockCount();
  uint8_t* memory = run.shared(run.sharedOwner, blocks * 40);
  if (memory == nullptr) {
    run.fail(kFaultRange);
    return source;
  }
  source.numbers = reinterpret_cast<int8_t*>(memory);
  source.scales = reinterpret_cast<float*>(memory + blocks * 32);
  source.sums = reinterpret_cast<int32_t*>(memory + blocks * 36);
  run.parallel(quantisePiece, &source, ceilingOf(blocks, kQuantiseBlocks));
  return source;
}

}  // namespace

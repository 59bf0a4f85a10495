#pragma once

namespace {

struct DownJob {
  Run* run;
  const Op* op;
  const uint32_t* addresses;
  const float* activations;
  float* target;
  const float* bias;
  uint32_t tokenCount, positionCount, perPiece;
};

/** Rows that meet the target at a time where there is one token: one load and store of it for so many. */
constexpr int kDownRows = 8;
/**
 * Pieces of f16 rows up to a page are short: prefetchers stop at its end, and only more rows keep as many lines under way. Longer ones
 * gain nothing from it (bench/ops.mjs, sparse FFN, with one and two threads).
 */
constexpr uint64_t kShortBytes = 4096;

/** As `addColumns`, of f16, a cache line of each row at a time. */
template <int R>
FLASHLM_INLINE void addHalfColumns(const uint8_t* const* rows, const Ahead& ahead, const F (&factor)[R], uint32_t first, uint32_t begin, uint32_t end, float* target) {
  for (uint32_t k = begin; k < end; k += kLineHalves) {
    F sums[kLineHalves / W];
    for (uint32_t v = 0; v < kLineHalves / W; v++) sums[v] = fLoad(target + k + v * W);
    FLASHLM_UNROLL
    for (int r = 0; r < R; r++) {
      prefetchRow(ahead, r, 2ull * (first + k));
      F weights[kLineHalves / W];
      fHalves(rows[r] + 2ull * (first + k), weights);
      for (uint32_t v = 0; v < kLineHalves / W; v++) sums[v] = fFma(factor[r], weights[v], sums[v]);
    }
    for (uint32_t v = 0; v < kLineHalves / W; v++) fStore(target + k + v * W, sums[v]);
  }
}

/** target += factor[r] * rows[r], r ascending, for whole steps of columns from `begin` to `end`; target is column `first`. */
template <uint32_t DTYPE, int R>
FLASHLM_INLINE void addColumns(const uint8_t* const* rows, const Ahead& ahead, const F (&factor)[R], uint32_t first, uint32_t begin, uint32_t end, float* target) {
  if constexpr (DTYPE == kF16) return addHalfColumns<R>(rows, ahead, factor, first, begin, end, target);
  constexpr uint32_t kVectors = blockColumns<DTYPE>() / W;
  for (uint32_t k = begin; k < end; k += stepColumns<DTYPE>()) {
    prefetchRows<R>(ahead, columnBytes<DTYPE>(first + k));
    for (uint32_t j = k; j < k + stepColumns<DTYPE>(); j += blockColumns<DTYPE>()) {
      F sums[kVectors];
      for (uint32_t v = 0; v < kVectors; v++) sums[v] = fLoad(target + j + v * W);
      for (int r = 0; r < R; r++) {
        F weights[kVectors];
        columnWeights<DTYPE>(rows[r], first + j, weights);
        for (uint32_t v = 0; v < kVectors; v++) sums[v] = fFma(factor[r], weights[v], sums[v]);
      }
      for (uint32_t v = 0; v < kVectors; v++) fStore(target + j + v * W, sums[v]);
    }
  }
}

/**
 * target += factors[r] * rows[r], r ascending, for `count` columns from column `first`. Records lie anywhere, and hardware prefetchers start
 * anew with each: lines ahead are asked for on the way, at the end those of the rows that come next.
 */
template <uint32_t DTYPE, int R>
inline void addRows(const uint8_t* const* rows, const float* factors, uint32_t first, uint32_t count, float* target, bool hasNext) {
  F factor[R];
  for (int r = 0; r < R; r++) factor[r] = fSet(factors[r]);
  const uint64_t lengthBytes = columnBytes<DTYPE>(count);
  const uint32_t end = count - count % stepColumns<DTYPE>();
  const uint32_t turn = leastOf(end, columnsOf<DTYPE>(turnBytes(lengthBytes)));
  addColumns<DTYPE, R>(rows, aheadInRows(rows), factor, first, 0, turn, target);
  addColumns<DTYPE, R>(rows, aheadInNext(rows, hasNext ? rows + R : nullptr, lengthBytes), factor, first, turn, end, target);
  if (isBlockDtype(DTYPE)) return;
  uint32_t k = end;
  for (; k + W <= count; k += W) {
    F sum = fLoad(target + k);
    FLASHLM_UNROLL
    for (int r = 0; r < R; r++) sum = fFma(factor[r], weightsAt<DTYPE>(rows[r], first + k), sum);
    fStore(target + k, sum);
  }
  if (k == count) return;
  F sum = fLoadPart(target + k, count - k);
  FLASHLM_UNROLL
  for (int r = 0; r < R; r++) sum = fFma(factor[r], weightsPart<DTYPE>(rows[r], first + k, count - k), sum);
  fStorePart(target + k, sum, count - k);
}

template <uint32_t DTYPE>
inline void addRowsOf(const uint8_t* const* rows, const float* factors, uint32_t rowCount, uint32_t first, uint32_t count, float* target) {
  uint32_t r = 0;
  if constexpr (DTYPE == kF16 && kShortRows > kDownRows) {
    const uint32_t end = columnBytes<DTYPE>(count) <= kShortBytes ? rowCount : 0;
    for (; r + kShortRows <= end; r += kShortRows) addRows<DTYPE, kShortRows>(rows + r, factors + r, first, count, target, r + 2 * kShortRows <= rowCount);
  }
  for (; r + kDownRows <= rowCount; r += kDownRows)
    addRows<DTYPE, kDownRows>(rows + r, factors + r, first, count, target, r + 2 * kDownRows <= rowCount);
  for (; r + 2 <= rowCount; r += 2) addRows<DTYPE, 2>(rows + r, factors + r, first, count, target, false);
  if (r < rowCount) addRows<DTYPE, 1>(rows + r, factors + r, first, count, target, false);
}

inline void addSomeRows(uint32_t dtype, const uint8_t* const* rows, const float* factors, uint32_t rowCount, uint32_t first, uint32_t count, float* target) {
  switch (dtype) {
    case kF32:
      return addRowsOf<kF32>(rows, factors, rowCount, first, count, target);
    case kF16:
      return addRowsOf<kF16>(rows, factors, rowCount, first, count, target);
    case kBf16:
      return addRowsOf<kBf16>(rows, factors, rowCount, first, count, target);
    case kQ8_0:
      return addRowsOf<kQ8_0>(rows, factors, rowCount, first, count, target);
    case kQ4_0:
      return addRowsOf<kQ4_0>(rows, factors, rowCount, first, count, target);
    default:
      return addRowsOf<kQ4_1>(rows, factors, rowCount, first, count, target);
  }
}

/** Rows whose places are looked up before they are added. */
constexpr uint32_t kDownLookUp = 512;

inline void downOneToken(const DownJob& job, uint32_t first, uint32_t count) {
  const Record& record = job.op->record;
  const uint8_t* rows[kDownLookUp];
  float factors[kDownLookUp];
  uint32_t waiting = 0;
  for (uint32_t p = 0; p < job.positionCount; p++) {
    if (job.activations[p] == 0) continue;
    const uint8_t* found = job.run->record(job.addresses, p, record.strideBytes);
    if (found == nullptr) return;
    rows[waiting] = found + record.down.offsetBytes;
    factors[waiting] = job.activations[p];
    if (++waiting < kDownLookUp) continue;
    addSomeRows(record.down.dtype, rows, factors, waiting, first, count, job.target + first);
    waiting = 0;
  }
  addSomeRows(record.down.dtype, rows, factors, waiting, first, count, job.target + first);
}

/** Positions whose rows become f32 together, columns that registers hold, and tokens whose lists are made together. */
constexpr uint32_t kDownPositions = 32;
constexpr uint32_t kDownVectors = 8;
constexpr uint32_t kDownColumns = 512;
/** Floats from one row of the panel to the next: a line more than a power of two, or all rows would compete for the same cache sets. */
constexpr uint32_t kDownStride = kDownColumns + 16;
static_assert(kDownPositions * kDownStride * 4 <= kScratchBytes, "a panel fits the scratch");
constexpr uint32_t kDownTokens = 16;

/** The positions of a block that a token has use for, ascending. */
struct LiveList {
  uint32_t count = 0;
  float factors[kDownPositions];
  uint32_t offsets[kDownPositions];
};

inline LiveList liveOf(const float* activations, uint32_t count) {
  LiveList list;
  for (uint32_t k = 0; k < count; k++) {
    list.factors[list.count] = activations[k];
    list.offsets[list.count] = k * kDownStride;
    list.count += activations[k] != 0;
  }
  return list;
}

/** target += the listed rows, over V vectors of columns that stay in registers. */
template <uint32_t V>
inline void addListedVectors(const LiveList& list, const float* panel, float* target) {
  F sums[V];
  for (uint32_t v = 0; v < V; v++) sums[v] = fLoad(target + v * W);
  for (uint32_t i = 0; i < list.count; i++) {
    const F factor = fSet(list.factors[i]);
    const float* row = panel + list.offsets[i];
    for (uint32_t v = 0; v < V; v++) sums[v] = fFma(factor, fLoad(row + v * W), sums[v]);
  }
  for (uint32_t v = 0; v < V; v++) fStore(target + v * W, sums[v]);
}

/** target += the listed rows, over at most kDownVectors vectors of columns. */
inline void addListed(const LiveList& list, const float* panel, uint32_t count, float* target) {
  if (count == kDownVectors * W) return addListedVectors<kDownVectors>(list, panel, target);
  uint32_t k = 0;
  for (; k + 4 * W <= count; k += 4 * W) addListedVectors<4>(list, panel + k, target + k);
  for (; k + 2 * W <= count; k += 2 * W) addListedVectors<2>(list, panel + k, target + k);
  for (; k < count; k += W) {
    const uint32_t width = leastOf(W, count - k);
    F sum = fLoadPart(target + k, width);
    for (uint32_t i = 0; i < list.count; i++) sum = fFma(fSet(list.factors[i]), fLoadPart(panel + list.offsets[i] + k, width), sum);
    fStorePart(target + k, sum, width);
  }
}

/** Rows that some token uses as f32 in the panel. False on a fault. */
inline bool fillPanel(const DownJob& job, uint32_t position, uint32_t rowCount, uint32_t first, uint32_t count, float* panel) {
  const Record& record = job.op->record;
  for (uint32_t r = 0; r < rowCount; r++) {
    bool used = false;
    for (uint32_t t = 0; t < job.tokenCount && !used; t++)
      used = job.activations[static_cast<uint64_t>(t) * job.op->activationStride + position + r] != 0;
    if (!used) continue;
    const uint8_t* found = job.run->record(job.addresses, position + r, record.strideBytes);
    if (found == nullptr) return false;
    dequantise(record.down.dtype, found + record.down.offsetBytes, first, count, panel + r * kDownStride);
  }
  return true;
}

inline void downManyTokens(const DownJob& job, uint32_t first, uint32_t count, float* panel) {
  LiveList lists[kDownTokens];
  const uint32_t hidden = job.op->record.hiddenSize;
  for (uint32_t p = 0; p < job.positionCount; p += kDownPositions) {
    const uint32_t rowCount = leastOf(kDownPositions, job.positionCount - p);
    if (!fillPanel(job, p, rowCount, first, count, panel)) return;
    for (uint32_t t = 0; t < job.tokenCount; t += kDownTokens) {
      const uint32_t tokens = leastOf(kDownTokens, job.tokenCount - t);
      for (uint32_t i = 0; i < tokens; i++)
        lists[i] = liveOf(job.activations + static_cast<uint64_t>(t + i) * job.op->activationStride + p, rowCount);
      for (uint32_t c = 0; c < count; c += kDownVectors * W) {
        const uint32_t width = leastOf(kDownVectors * W, count - c);
        for (uint32_t i = 0; i < tokens; i++)
          addListed(lists[i], panel + c, width, job.target + static_cast<uint64_t>(t + i) * hidden + first + c);
      }
    }
  }
}

/** Threads claim output elements; every element sums its positions in ascending order. */
inline void downPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const DownJob& job = *static_cast<const DownJob*>(pointer);
  const uint32_t hidden = job.op->record.hiddenSize;
  const uint32_t first = piece * job.perPiece;
  const uint32_t end = leastOf(hidden, first + job.perPiece);
  if (job.tokenCount == 1) {
    downOneToken(job, first, end - first);
  } else {
    float* panel = reinterpret_cast<float*>(job.run->scratch[thread]);
    for (uint32_t c = first; c < end; c += kDownColumns) downManyTokens(job, c, leastOf(kDownColumns, end - c), panel);
  }
  if (job.bias == nullptr) return;
  for (uint32_t t = 0; t < job.tokenCount; t++) {
    float* target = job.target + static_cast<uint64_t>(t) * hidden;
    for (uint32_t i = first; i < end; i++) target[i] += job.bias[i];
  }
}

inline void ffnDown(Run& run, const Op& op, uint32_t tokens) {
  DownJob job;
  const uint32_t hidden = op.record.hiddenSize;
  job.run = &run;
  job.op = &op;
  job.tokenCount = tokens;
  job.positionCount = run.word(op.position);
  if (job.positionCount > op.activationStride) run.fail(kFaultRange);
  job.addresses = reinterpret_cast<const uint32_t*>(run.place(op.addresses, 4ull * job.positionCount));
  job.activations = reinterpret_cast<const float*>(run.place(op.activations, 4ull * op.activationStride * tokens));
  job.target = reinterpret_cast<float*>(run.place(op.target, 4ull * hidden * tokens));
  job.bias = run.vector(op.bias, hidden);
  if (run.fault != kFaultNone) return;
  // One piece per thread: the longer the piece of a row, the longer prefetchers follow it (bench/ops.mjs, sparse FFN).
  const uint32_t threads = run.threadCount;
  const uint64_t bytes = rowBytes(op.record.down.dtype, hidden) * job.positionCount * tokens;
  const uint32_t pieces = threads == 1 || bytes < 2 * kPieceCost ? 1 : threads;
  job.perPiece = ceilingOf(ceilingOf(hidden, pieces), 32) * 32;
  run.parallel(downPiece, &job, ceilingOf(hidden, job.perPiece));
}

}  // namespace

#pragma once

namespace {

/** Vectors of a head that registers hold while values are summed. */
constexpr uint32_t kHeadVectors = 8;

struct AttentionJob {
  Run* run;
  const Op* op;
  uint32_t position;
  uint32_t headCount, keyValueHeadCount, headDim, capacity;
  const float* query;
  const uint8_t* keys;
  const uint8_t* values;
  float* target;
  const float* slopes;
  const float* sinks;
  uint64_t rowBytes, headBytes;
  Pieces pieces;
};

/** Positions that a token sees: `count` of them from `first`, the first of which is at ring row `row`. */
struct Seen {
  uint32_t first, count, row;
};

inline const uint8_t* ringRow(const AttentionJob& job, const uint8_t* cache, const Seen& seen, uint32_t index) {
  uint32_t row = seen.row + index;
  if (row >= job.capacity) row -= job.capacity;
  return cache + row * job.rowBytes;
}

inline void scoreHead(const AttentionJob& job, const float* query, const uint8_t* keys, const Seen& seen, float* scores) {
  const uint8_t* rows[8];
  for (uint32_t i = 0; i < seen.count; i += 8) {
    const uint32_t count = leastOf(8, seen.count - i);
    for (uint32_t r = 0; r < count; r++) rows[r] = ringRow(job, keys, seen, i + r);
    dotsOfFloats(job.op->sourceDtype, rows, nullptr, count, query, job.headDim, scores + i);
  }
}

/** Scale, soft cap and slopes. */
inline void shapeScores(const AttentionJob& job, uint32_t head, const Seen& seen, float* scores) {
  const float scale = job.op->number[0];
  const float cap = job.op->number[1];
  for (uint32_t i = 0; i < seen.count; i++) scores[i] *= scale;
  if (cap > 0)
    for (uint32_t i = 0; i < seen.count; i++) scores[i] = static_cast<float>(cap * ownTanh(scores[i] / cap));
  if (job.slopes == nullptr) return;
  const float slope = job.slopes[head];
  const float last = static_cast<float>(seen.count - 1);
  for (uint32_t i = 0; i < seen.count; i++) scores[i] += slope * (static_cast<float>(i) - last);
}

/** exp(scores - largest) in place; returns their sum in ascending order. */
inline double exponentials(float* scores, uint32_t count, float largest) {
  for (uint32_t i = 0; i < count; i++) scores[i] = static_cast<float>(ownExp(static_cast<double>(scores[i]) - largest));
  double sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += scores[i];
  return sum;
}

inline float largestOf(const float* x, uint32_t count, float start) {
  float most = start;
  for (uint32_t i = 0; i < count; i++) most = x[i] > most || x[i] != x[i] ? x[i] : most;
  return most;
}

/** target[0 .. V*W) = sum of shares times values, positions ascending. */
template <uint32_t DTYPE, uint32_t V>
inline void sumValues(const AttentionJob& job, const uint8_t* values, const Seen& seen, const float* shares, uint32_t column, float factor, float* target) {
  F sums[V];
  for (uint32_t v = 0; v < V; v++) sums[v] = fZero();
  for (uint32_t i = 0; i < seen.count; i++) {
    const F share = fSet(shares[i]);
    const uint8_t* row = ringRow(job, values, seen, i);
    if (DTYPE == kQ8_0) {
      for (uint32_t b = 0; b < V * W / 32; b++) {
        F weights[32 / W];
        blockWeights<kQ8_0>(row + (column / 32 + b) * 34, weights);
        for (uint32_t j = 0; j < 32 / W; j++) sums[b * (32 / W) + j] = fFma(share, weights[j], sums[b * (32 / W) + j]);
      }
    } else {
      for (uint32_t v = 0; v < V; v++) sums[v] = fFma(share, weightsAt<DTYPE>(row, column + v * W), sums[v]);
    }
  }
  for (uint32_t v = 0; v < V; v++) fStore(target + column + v * W, fMul(sums[v], fSet(factor)));
}

template <uint32_t DTYPE>
inline void sumHead(const AttentionJob& job, const uint8_t* values, const Seen& seen, const float* shares, float factor, float* target) {
  uint32_t c = 0;
  for (; c + kHeadVectors * W <= job.headDim; c += kHeadVectors * W) sumValues<DTYPE, kHeadVectors>(job, values, seen, shares, c, factor, target);
  for (; c + 32 <= job.headDim; c += 32) sumValues<DTYPE, 32 / W>(job, values, seen, shares, c, factor, target);
  if (DTYPE == kQ8_0) return;
  for (; c < job.headDim; c += W) {
    const uint32_t width = leastOf(W, job.headDim - c);
    F sum = fZero();
    for (uint32_t i = 0; i < seen.count; i++)
      sum = fFma(fSet(shares[i]), weightsPart<DTYPE == kQ8_0 ? kF32 : DTYPE>(ringRow(job, values, seen, i), c, width), sum);
    fStorePart(target + c, fMul(sum, fSet(factor)), width);
  }
}

inline void attendHead(const AttentionJob& job, uint32_t token, uint32_t head, uint32_t thread) {
  const uint32_t now = job.position + token;
  // Rows older than the cache are gone, whatever the window says.
  Seen seen;
  seen.count = leastOf(leastOf(job.op->count[3], job.capacity), now + 1);
  seen.first = now + 1 - seen.count;
  seen.row = seen.first % job.capacity;
  const uint64_t offset = static_cast<uint64_t>(head) * job.keyValueHeadCount / job.headCount * job.headBytes;
  const uint64_t vector = (static_cast<uint64_t>(token) * job.headCount + head) * job.headDim;
  float* scores = reinterpret_cast<float*>(job.run->scratch[thread]);
  scoreHead(job, job.query + vector, job.keys + offset, seen, scores);
  shapeScores(job, head, seen, scores);
  const float sink = job.sinks ? job.sinks[head] : -__builtin_inff();
  const float largest = largestOf(scores, seen.count, sink);
  double total = exponentials(scores, seen.count, largest);
  if (job.sinks) total += ownExp(static_cast<double>(sink) - largest);
  const float factor = static_cast<float>(1 / total);
  const uint32_t dtype = job.op->sourceDtype;
  if (dtype == kF32) sumHead<kF32>(job, job.values + offset, seen, scores, factor, job.target + vector);
  else if (dtype == kF16) sumHead<kF16>(job, job.values + offset, seen, scores, factor, job.target + vector);
  else sumHead<kQ8_0>(job, job.values + offset, seen, scores, factor, job.target + vector);
}

/** Threads claim pairs of token and head. */
inline void attentionPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const AttentionJob& job = *static_cast<const AttentionJob*>(pointer);
  const uint32_t end = job.pieces.begin(piece + 1);
  for (uint32_t unit = job.pieces.begin(piece); unit < end; unit++) attendHead(job, unit / job.headCount, unit % job.headCount, thread);
}

inline void attention(Run& run, const Op& op, uint32_t tokens) {
  AttentionJob job;
  job.run = &run;
  job.op = &op;
  job.headCount = op.count[0];
  job.keyValueHeadCount = op.count[1];
  job.headDim = op.count[2];
  job.capacity = op.kind;
  job.position = run.word(op.position);
  job.headBytes = rowBytes(op.sourceDtype, job.headDim);
  job.rowBytes = job.headBytes * job.keyValueHeadCount;
  const uint64_t elements = static_cast<uint64_t>(tokens) * job.headCount * job.headDim;
  job.query = reinterpret_cast<const float*>(run.place(op.source, elements * 4));
  job.target = reinterpret_cast<float*>(run.place(op.target, elements * 4));
  job.keys = run.place(op.extra[0], job.rowBytes * job.capacity);
  job.values = run.place(op.extra[1], job.rowBytes * job.capacity);
  job.slopes = run.vector(op.slopes, job.headCount);
  job.sinks = run.vector(op.sinks, job.headCount);
  const uint32_t seen = leastOf(leastOf(op.count[3], job.capacity), job.position + tokens);
  if (static_cast<uint64_t>(job.capacity) * 4 > kScratchBytes) run.fail(kFaultRange);
  if (run.fault != kFaultNone) return;
  job.pieces = piecesOf(run, static_cast<uint64_t>(tokens) * job.headCount, 2 * job.headBytes * seen, 1);
  run.parallel(attentionPiece, &job, job.pieces.count);
}

}  // namespace

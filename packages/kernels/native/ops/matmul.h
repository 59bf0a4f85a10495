#pragma once

namespace {

struct MatmulJob {
  Run* run;
  uint32_t dtype;
  const uint8_t* weight;
  uint64_t rowLength;
  uint32_t rowCount;
  Pieces pieces;
  Source source;
  float* target;
  const float* bias;
  bool accumulate;
};

inline void storeDots(const MatmulJob& job, uint32_t row, uint32_t count, uint32_t first, uint32_t tokens, const float* dots) {
  for (uint32_t t = 0; t < tokens; t++) {
    float* target = job.target + static_cast<uint64_t>(first + t) * job.rowCount + row;
    for (uint32_t r = 0; r < count; r++) {
      const float value = job.bias ? dots[t * kGroupRowsMax + r] + job.bias[row + r] : dots[t * kGroupRowsMax + r];
      target[r] = job.accumulate ? target[r] + value : value;
    }
  }
}

inline void matmulPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const MatmulJob& job = *static_cast<const MatmulJob*>(pointer);
  const uint32_t end = job.pieces.begin(piece + 1);
  const uint32_t step = groupRows(job.source);
  const uint32_t tokenStep = groupTokens(job.source);
  const uint8_t* rows[kGroupRowsMax];
  const uint8_t* next[kGroupRowsMax];
  for (uint32_t row = job.pieces.begin(piece); row < end; row += step) {
    const uint32_t count = leastOf(step, end - row);
    for (uint32_t r = 0; r < count; r++) rows[r] = job.weight + (row + r) * job.rowLength;
    for (uint32_t r = 0; r < count; r++) next[r] = rows[r] + step * job.rowLength;
    for (uint32_t first = 0; first < job.source.tokenCount; first += tokenStep) {
      const uint32_t tokens = leastOf(tokenStep, job.source.tokenCount - first);
      const float* dots = groupDots(*job.run, thread, job.dtype, rows, row + step < end ? next : nullptr, count, job.source, first, tokens);
      storeDots(job, row, count, first, tokens, dots);
    }
  }
}

inline void matmul(Run& run, const Op& op, uint32_t tokens) {
  MatmulJob job;
  const uint32_t columns = op.weight.columnCount;
  job.run = &run;
  job.dtype = op.weight.dtype;
  job.rowCount = op.weight.rowCount;
  job.rowLength = rowBytes(job.dtype, columns);
  job.weight = run.resolve(op.weight.base, job.rowLength * job.rowCount);
  const float* values = reinterpret_cast<const float*>(run.place(op.source, 4ull * tokens * columns));
  job.target = reinterpret_cast<float*>(run.place(op.target, 4ull * tokens * job.rowCount));
  job.bias = run.vector(op.bias, job.rowCount);
  job.accumulate = op.accumulate;
  if (columns > kColumnsMax) run.fail(kFaultRange);
  if (run.fault != kFaultNone) return;
  job.source = makeSource(run, values, tokens, columns, op.quantised && isBlockDtype(job.dtype));
  if (run.fault != kFaultNone) return;
  job.pieces = piecesOf(run, job.rowCount, job.rowLength * tokens, groupRows(job.source));
  run.parallel(matmulPiece, &job, job.pieces.count);
}

}  // namespace

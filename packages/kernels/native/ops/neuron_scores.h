#pragma once

namespace {

struct ScoresJob {
  Run* run;
  const Op* op;
  Source source, gateSource, upSource;
  const uint8_t* gate;
  const uint8_t* up;
  const float* norms;
  float* scores;
  Pieces pieces;
};

inline void storeGates(const ScoresJob& job, uint32_t row, uint32_t count, uint32_t first, uint32_t tokens, const float* dots) {
  for (uint32_t t = 0; t < tokens; t++) {
    float* target = job.scores + static_cast<uint64_t>(first + t) * job.op->weight.rowCount + row;
    for (uint32_t r = 0; r < count; r++) target[r] = dots[t * kGroupRowsMax + r];
    activate(job.op->activation, job.op->threshold, target, count);
  }
}

inline void storeUps(const ScoresJob& job, uint32_t row, uint32_t count, uint32_t first, uint32_t tokens, const float* dots) {
  for (uint32_t t = 0; t < tokens; t++) {
    float* target = job.scores + static_cast<uint64_t>(first + t) * job.op->weight.rowCount + row;
    for (uint32_t r = 0; r < count; r++) {
      const float dot = dots[t * kGroupRowsMax + r];
      const float up = job.op->upRelu && dot < 0 ? 0 : dot;
      const float value = target[r] == 0 ? 0 : target[r] * up;
      target[r] = job.op->kind == kContribution ? __builtin_fabsf(value) * job.norms[row + r] : value;
    }
  }
}

inline void scorePart(const ScoresJob& job, uint32_t row, uint32_t count, bool isGate, uint32_t thread) {
  const Weight& weight = isGate ? job.op->weight : job.op->up;
  const Source& source = isGate ? job.gateSource : job.upSource;
  const uint64_t length = rowBytes(weight.dtype, weight.columnCount);
  const uint8_t* rows[kGroupRowsMax];
  for (uint32_t r = 0; r < count; r++) rows[r] = (isGate ? job.gate : job.up) + (row + r) * length;
  const uint32_t step = groupTokens(source);
  for (uint32_t first = 0; first < source.tokenCount; first += step) {
    const uint32_t tokens = leastOf(step, source.tokenCount - first);
    const float* dots = groupDots(*job.run, thread, weight.dtype, rows, nullptr, count, source, first, tokens);
    if (isGate) storeGates(job, row, count, first, tokens, dots);
    else storeUps(job, row, count, first, tokens, dots);
  }
}

inline void scoresPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const ScoresJob& job = *static_cast<const ScoresJob*>(pointer);
  const uint32_t end = job.pieces.begin(piece + 1);
  uint32_t step = groupRows(job.gateSource);
  if (job.op->kind != kGate) step = leastOf(step, groupRows(job.upSource));
  for (uint32_t row = job.pieces.begin(piece); row < end; row += step) {
    const uint32_t count = leastOf(step, end - row);
    scorePart(job, row, count, true, thread);
    if (job.op->kind != kGate) scorePart(job, row, count, false, thread);
  }
}

inline void neuronScores(Run& run, const Op& op, uint32_t tokens) {
  ScoresJob job;
  const uint32_t rows = op.weight.rowCount;
  const uint32_t columns = op.weight.columnCount;
  const bool two = op.kind != kGate;
  job.run = &run;
  job.op = &op;
  job.gate = run.resolve(op.weight.base, rowBytes(op.weight.dtype, columns) * rows);
  job.up = two ? run.resolve(op.up.base, rowBytes(op.up.dtype, columns) * rows) : nullptr;
  job.norms = op.kind == kContribution ? run.vector(op.norms, rows) : nullptr;
  const float* values = reinterpret_cast<const float*>(run.place(op.source, 4ull * tokens * columns));
  job.scores = reinterpret_cast<float*>(run.place(op.target, 4ull * tokens * rows));
  if (columns > kColumnsMax) run.fail(kFaultRange);
  if (run.fault != kFaultNone) return;
  const bool gateBlocks = op.quantised && isBlockDtype(op.weight.dtype);
  const bool upBlocks = op.quantised && two && isBlockDtype(op.up.dtype);
  job.source = makeSource(run, values, tokens, columns, gateBlocks || upBlocks);
  if (run.fault != kFaultNone) return;
  job.gateSource = withIntegers(job.source, gateBlocks);
  job.upSource = withIntegers(job.source, upBlocks);
  const uint64_t cost = rowBytes(op.weight.dtype, columns) * (two ? 2 : 1) * tokens;
  job.pieces = piecesOf(run, rows, cost, groupRows(job.gateSource));
  run.parallel(scoresPiece, &job, job.pieces.count);
}

}  // namespace

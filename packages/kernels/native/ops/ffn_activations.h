#pragma once

namespace {

struct ActivationsJob {
  Run* run;
  const Op* op;
  Source source;
  /** As `source`, but without integers where the other part of a record has none. */
  Source gateSource, upSource;
  const uint32_t* addresses;
  const uint32_t* ids;
  const uint32_t* order;
  uint32_t begin;
  Pieces pieces;
  float* activations;
  const uint8_t* mask;
  const float* gateBias;
  const float* upBias;
};

/** Neurons of a group: where their records and results are. */
struct NeuronGroup {
  uint32_t count = 0;
  uint32_t positions[kGroupRowsMax];
  uint32_t ids[kGroupRowsMax];
  const uint8_t* records[kGroupRowsMax];
};

inline float* activationsOf(const ActivationsJob& job, uint32_t token) {
  return job.activations + static_cast<uint64_t>(token) * job.op->activationStride;
}

/** Bias, activation and mask for the first dot of each neuron; stores the results. */
inline void storeOpened(const ActivationsJob& job, const NeuronGroup& group, const float* bias, uint32_t first, uint32_t tokens, const float* dots) {
  float values[kGroupRowsMax];
  for (uint32_t t = 0; t < tokens; t++) {
    for (uint32_t r = 0; r < group.count; r++) {
      const float dot = dots[t * kGroupRowsMax + r];
      values[r] = bias ? dot + bias[group.ids[r]] : dot;
    }
    activate(job.op->activation, job.op->threshold, values, group.count);
    float* target = activationsOf(job, first + t);
    const uint8_t* mask = job.mask ? job.mask + static_cast<uint64_t>(first + t) * job.op->maskStride : nullptr;
    for (uint32_t r = 0; r < group.count; r++) {
      const bool masked = mask && mask[group.ids[r]] == 0;
      target[group.positions[r]] = masked ? 0 : values[r];
    }
  }
}

/** Multiplies what the gates left by the up dots. */
inline void storeProducts(const ActivationsJob& job, const NeuronGroup& group, uint32_t first, uint32_t tokens, const float* dots) {
  for (uint32_t t = 0; t < tokens; t++) {
    float* target = activationsOf(job, first + t);
    for (uint32_t r = 0; r < group.count; r++) {
      float* place = target + group.positions[r];
      const float dot = dots[t * kGroupRowsMax + r];
      const float value = job.upBias ? dot + job.upBias[group.ids[r]] : dot;
      const float up = job.op->upRelu && value < 0 ? 0 : value;
      *place = *place == 0 ? 0 : *place * up;
    }
  }
}

/** Where `part` lies in `count` records of a group; the last one stands for those that it lacks. */
inline void partRows(const NeuronGroup& group, const Part& part, uint32_t count, const uint8_t** rows) {
  for (uint32_t r = 0; r < count; r++) rows[r] = group.records[leastOf(r, group.count - 1)] + part.offsetBytes;
}

/** Runs one part of the group's records over all tokens. `next`: the rows that are read after these, or nullptr. */
inline void dotPart(const ActivationsJob& job, const NeuronGroup& group, const Part& part, const uint8_t* const* next, const Source& source, bool opens, uint32_t thread) {
  const uint8_t* rows[kGroupRowsMax];
  partRows(group, part, group.count, rows);
  const uint32_t step = groupTokens(source);
  for (uint32_t first = 0; first < source.tokenCount; first += step) {
    const uint32_t tokens = leastOf(step, source.tokenCount - first);
    const float* dots = groupDots(*job.run, thread, part.dtype, rows, next, group.count, source, first, tokens);
    if (opens) storeOpened(job, group, job.op->record.gate.present ? job.gateBias : job.upBias, first, tokens, dots);
    else storeProducts(job, group, first, tokens, dots);
  }
}

/** The neurons that some token has use for. */
inline NeuronGroup openOnes(const ActivationsJob& job, const NeuronGroup& group) {
  NeuronGroup open;
  for (uint32_t r = 0; r < group.count; r++) {
    bool used = false;
    for (uint32_t t = 0; t < job.source.tokenCount && !used; t++) used = activationsOf(job, t)[group.positions[r]] != 0;
    if (!used) continue;
    open.positions[open.count] = group.positions[r];
    open.ids[open.count] = group.ids[r];
    open.records[open.count++] = group.records[r];
  }
  return open;
}

/** Whether everything that is found by position or id lies where it may. */
inline bool mayUse(const ActivationsJob& job, uint32_t position) {
  const Run& run = *job.run;
  const Op& op = *job.op;
  const uint64_t listBytes = 4ull * position + 4;
  if (position >= op.activationStride || !run.inside(op.addresses, listBytes) || !run.inside(op.ids, listBytes)) return false;
  const uint32_t id = job.ids[position];
  if (job.mask && id >= op.maskStride) return false;
  const uint64_t biasBytes = 4ull * id + 4;
  const uint8_t* end = run.arena + run.arenaBytes - biasBytes;
  const bool gateFits = job.gateBias == nullptr || reinterpret_cast<const uint8_t*>(job.gateBias) <= end;
  return gateFits && (job.upBias == nullptr || reinterpret_cast<const uint8_t*>(job.upBias) <= end);
}

inline bool fillGroup(const ActivationsJob& job, uint32_t k, uint32_t count, NeuronGroup& group) {
  group.count = count;
  for (uint32_t r = 0; r < count; r++) {
    const uint32_t position = job.order[k + r];
    if (!mayUse(job, position)) {
      job.run->fail(kFaultRange);
      return false;
    }
    group.positions[r] = position;
    group.ids[r] = job.ids[position];
    group.records[r] = job.run->record(job.addresses, position, job.op->record.strideBytes);
    if (group.records[r] == nullptr) return false;
  }
  return true;
}

inline void activationsPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const ActivationsJob& job = *static_cast<const ActivationsJob*>(pointer);
  const Record& record = job.op->record;
  const uint32_t first = job.begin + job.pieces.begin(piece);
  const uint32_t end = job.begin + job.pieces.begin(piece + 1);
  uint32_t step = groupRows(job.upSource);
  if (record.gate.present) step = leastOf(step, groupRows(job.gateSource));
  const Part& opening = record.gate.present ? record.gate : record.up;
  NeuronGroup groups[2];
  if (first < end && !fillGroup(job, first, leastOf(step, end - first), groups[0])) return;
  for (uint32_t k = first, turn = 0; k < end; k += step, turn ^= 1) {
    const NeuronGroup& group = groups[turn];
    const uint8_t* rows[kGroupRowsMax];
    const uint8_t* const* next = nullptr;
    if (k + step < end) {
      if (!fillGroup(job, k + step, leastOf(step, end - k - step), groups[turn ^ 1])) return;
      partRows(groups[turn ^ 1], opening, group.count, rows);
      next = rows;
    }
    if (!record.gate.present) {
      dotPart(job, group, record.up, next, job.upSource, true, thread);
      continue;
    }
    // Behind a record's gate lies its up part.
    dotPart(job, group, record.gate, nullptr, job.gateSource, true, thread);
    const NeuronGroup open = openOnes(job, group);
    if (open.count > 0) dotPart(job, open, record.up, next, job.upSource, false, thread);
  }
}

inline Source withIntegers(const Source& source, bool wanted) {
  Source result = source;
  if (!wanted) result.numbers = nullptr;
  return result;
}

inline void ffnActivations(Run& run, const Op& op, uint32_t tokens) {
  ActivationsJob job;
  const Record& record = op.record;
  job.run = &run;
  job.op = &op;
  job.begin = run.word(op.orderBegin);
  const uint32_t end = run.word(op.orderEnd);
  if (end <= job.begin) return;
  const float* values = reinterpret_cast<const float*>(run.place(op.source, 4ull * tokens * record.hiddenSize));
  job.order = reinterpret_cast<const uint32_t*>(run.place(op.order, 4ull * end));
  job.addresses = reinterpret_cast<const uint32_t*>(run.place(op.addresses, 4));
  job.ids = reinterpret_cast<const uint32_t*>(run.place(op.ids, 4));
  job.activations = reinterpret_cast<float*>(run.place(op.activations, 4ull * op.activationStride * tokens));
  job.mask = op.mask ? run.place(op.mask, static_cast<uint64_t>(op.maskStride) * tokens) : nullptr;
  job.gateBias = run.vector(op.bias, 1);
  job.upBias = run.vector(op.upBias, 1);
  if (record.hiddenSize > kColumnsMax) run.fail(kFaultRange);
  if (run.fault != kFaultNone) return;
  const bool gateBlocks = op.quantised && record.gate.present && isBlockDtype(record.gate.dtype);
  const bool upBlocks = op.quantised && isBlockDtype(record.up.dtype);
  job.source = makeSource(run, values, tokens, record.hiddenSize, gateBlocks || upBlocks);
  if (run.fault != kFaultNone) return;
  job.gateSource = withIntegers(job.source, gateBlocks);
  job.upSource = withIntegers(job.source, upBlocks);
  const uint64_t cost = rowBytes(record.up.dtype, record.hiddenSize) * (record.gate.present ? 2 : 1) * tokens;
  job.pieces = piecesOf(run, end - job.begin, cost, groupRows(job.upSource));
  run.parallel(activationsPiece, &job, job.pieces.count);
}

}  // namespace

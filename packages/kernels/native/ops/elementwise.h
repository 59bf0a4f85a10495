#pragma once

namespace {

/** Columns that scratch holds as f32 between two dtypes; whole blocks. */
constexpr uint32_t kConvertColumns = 4096;

inline void gatherUnit(const EachJob& job, uint32_t token, uint32_t thread) {
  const Op& op = *job.op;
  const uint32_t columns = op.weight.columnCount;
  const uint32_t row = reinterpret_cast<const uint32_t*>(job.source)[token];
  if (row >= op.weight.rowCount) return job.run->fail(kFaultRowId);
  const uint8_t* from = job.table + row * rowBytes(op.weight.dtype, columns);
  float* target = floatsOf(job.target, token, columns);
  const float scale = op.number[0];
  if (scale == 1 && !op.accumulate) return dequantise(op.weight.dtype, from, 0, columns, target);
  float* values = reinterpret_cast<float*>(job.run->scratch[thread]);
  for (uint32_t c = 0; c < columns; c += kConvertColumns) {
    const uint32_t width = leastOf(kConvertColumns, columns - c);
    dequantise(op.weight.dtype, from, c, width, values);
    if (op.accumulate)
      for (uint32_t i = 0; i < width; i++) target[c + i] += scale * values[i];
    else
      for (uint32_t i = 0; i < width; i++) target[c + i] = scale * values[i];
  }
}

inline void gatherRows(Run& run, const Op& op, uint32_t tokens) {
  EachJob job = eachJob(run, op, gatherUnit);
  const uint64_t length = rowBytes(op.weight.dtype, op.weight.columnCount);
  job.table = run.resolve(op.weight.base, length * op.weight.rowCount);
  job.source = run.place(op.source, 4ull * tokens);
  job.target = run.place(op.target, 4ull * tokens * op.weight.columnCount);
  runEach(job, tokens, length + 4ull * op.weight.columnCount);
}

/** Sum of (x - mean)^2 in eight f64 lanes. */
inline double squaresOf(const float* x, uint32_t dim, double mean) {
  double lanes[8] = {};
  uint32_t i = 0;
  for (; i + 8 <= dim; i += 8)
    for (uint32_t l = 0; l < 8; l++) {
      const double value = x[i + l] - mean;
      lanes[l] += value * value;
    }
  for (uint32_t l = 0; i < dim; i++, l++) {
    const double value = x[i] - mean;
    lanes[l] += value * value;
  }
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

inline void normUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[1];
  const float* x = floatsOf(job.source, row, dim);
  float* target = floatsOf(job.target, row, dim);
  double mean = 0;
  if (job.op->kind != 0) {
    for (uint32_t i = 0; i < dim; i++) mean += x[i];
    mean /= dim;
  }
  const double factor = 1 / __builtin_sqrt(squaresOf(x, dim, mean) / dim + job.op->number[0]);
  if (job.bias == nullptr) {
    for (uint32_t i = 0; i < dim; i++) target[i] = static_cast<float>((x[i] - mean) * factor) * job.weight[i];
    return;
  }
  for (uint32_t i = 0; i < dim; i++) target[i] = static_cast<float>((x[i] - mean) * factor) * job.weight[i] + job.bias[i];
}

inline void norm(Run& run, const Op& op, uint32_t tokens) {
  EachJob job = eachJob(run, op, normUnit);
  const uint64_t rows = static_cast<uint64_t>(tokens) * op.count[0];
  rowPlaces(job, rows, op.count[1]);
  job.weight = run.vector(op.norms, op.count[1]);
  job.bias = run.vector(op.bias, op.count[1]);
  runEach(job, rows, 8ull * op.count[1]);
}

inline void ropeUnit(const EachJob& job, uint32_t unit, uint32_t) {
  const Op& op = *job.op;
  const uint32_t half = op.count[2] / 2;
  float* __restrict first = floatsOf(job.target, unit, op.count[1]);
  float* __restrict second = first + half;
  const float* __restrict cosines = floatsOf(job.table, unit / op.count[0], op.count[2]);
  const float* __restrict sines = cosines + half;
  for (uint32_t i = 0; i < half; i++) {
    const float a = first[i];
    const float b = second[i];
    first[i] = a * cosines[i] - b * sines[i];
    second[i] = b * cosines[i] + a * sines[i];
  }
}

inline void rope(Run& run, const Op& op, uint32_t tokens) {
  EachJob job = eachJob(run, op, ropeUnit);
  const uint64_t units = static_cast<uint64_t>(tokens) * op.count[0];
  const uint64_t rowLength = 4ull * op.count[2];
  job.target = run.place(op.target, units * op.count[1] * 4);
  job.table = run.place(op.source + run.word(op.position) * rowLength, rowLength * tokens);
  runEach(job, units, 8ull * op.count[2]);
}

inline void storeUnit(const EachJob& job, uint32_t index, uint32_t) {
  const Op& op = *job.op;
  const uint32_t token = index + job.position;
  const uint32_t dim = op.count[0];
  const uint64_t row = (static_cast<uint64_t>(job.run->word(op.position)) + token) % op.count[1];
  encodeRow(op.targetDtype, floatsOf(job.source, token, dim), dim, job.target + row * job.targetLength);
  encodeRow(op.targetDtype, floatsOf(job.secondSource, token, dim), dim, job.second + row * job.targetLength);
}

inline void storeKeyValue(Run& run, const Op& op, uint32_t tokens) {
  EachJob job = eachJob(run, op, storeUnit);
  const uint64_t sourceBytes = 4ull * tokens * op.count[0];
  job.targetLength = rowBytes(op.targetDtype, op.count[0]);
  job.source = run.place(op.extra[0], sourceBytes);
  job.secondSource = run.place(op.extra[1], sourceBytes);
  job.target = run.place(op.extra[2], job.targetLength * op.count[1]);
  job.second = run.place(op.extra[3], job.targetLength * op.count[1]);
  // When more tokens come than the cache holds, the last ones stay, whichever thread is faster.
  job.position = tokens > op.count[1] ? tokens - op.count[1] : 0;
  runEach(job, tokens - job.position, 8ull * op.count[0] + 2 * job.targetLength);
}

inline void addUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[0];
  const float scale = job.op->number[0];
  const float* x = floatsOf(job.source, row, dim);
  float* target = floatsOf(job.target, row, dim);
  for (uint32_t i = 0; i < dim; i++) target[i] += scale * x[i];
}

inline void copyUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[0];
  const float scale = job.op->number[0];
  const float* x = floatsOf(job.source, row, dim);
  float* target = floatsOf(job.target, row, dim);
  for (uint32_t i = 0; i < dim; i++) target[i] = scale == 0 ? 0 : scale * x[i];
}

inline void softCapUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[0];
  const float cap = job.op->number[0];
  float* x = floatsOf(job.target, row, dim);
  for (uint32_t i = 0; i < dim; i++) x[i] = static_cast<float>(cap * ownTanh(x[i] / static_cast<double>(cap)));
}

inline void softmaxUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[0];
  const double temperature = job.op->number[0];
  float* x = floatsOf(job.target, row, dim);
  const double largest = largestOf(x, dim, x[0]);
  for (uint32_t i = 0; i < dim; i++) x[i] = static_cast<float>(ownExp((x[i] - largest) / temperature));
  double sum = 0;
  for (uint32_t i = 0; i < dim; i++) sum += x[i];
  const double factor = 1 / sum;
  for (uint32_t i = 0; i < dim; i++) x[i] = static_cast<float>(x[i] * factor);
}

inline void argmaxUnit(const EachJob& job, uint32_t row, uint32_t) {
  const uint32_t dim = job.op->count[0];
  const float* x = floatsOf(job.source, row, dim);
  uint32_t best = 0;
  for (uint32_t i = 1; i < dim; i++)
    if (x[i] > x[best] || (x[best] != x[best] && x[i] == x[i])) best = i;
  reinterpret_cast<uint32_t*>(job.target)[row] = best;
}

inline void convertUnit(const EachJob& job, uint32_t row, uint32_t thread) {
  const Op& op = *job.op;
  float* values = reinterpret_cast<float*>(job.run->scratch[thread]);
  for (uint32_t c = 0; c < op.count[0]; c += kConvertColumns) {
    const uint32_t width = leastOf(kConvertColumns, op.count[0] - c);
    dequantise(op.sourceDtype, job.source + row * job.sourceLength, c, width, values);
    encodeRow(op.targetDtype, values, width, job.target + row * job.targetLength + rowBytes(op.targetDtype, c));
  }
}

/** add, copy, softCap, softmax, argmax and convert: rows of `dim` values. */
inline void rowOp(Run& run, const Op& op, uint32_t tokens) {
  const uint64_t dim = op.count[0];
  EachJob job = eachJob(run, op, nullptr);
  if (op.code == kOpConvert) {
    job.unit = convertUnit;
    job.sourceLength = rowBytes(op.sourceDtype, dim);
    job.targetLength = rowBytes(op.targetDtype, dim);
    job.source = run.place(op.source, job.sourceLength * tokens);
    job.target = run.place(op.target, job.targetLength * tokens);
  } else if (op.code == kOpArgmax) {
    job.unit = argmaxUnit;
    job.source = run.place(op.source, 4 * dim * tokens);
    job.target = run.place(op.target, 4ull * tokens);
  } else {
    job.unit = op.code == kOpAdd ? addUnit : op.code == kOpCopy ? copyUnit : op.code == kOpSoftCap ? softCapUnit : softmaxUnit;
    rowPlaces(job, tokens, dim);
  }
  runEach(job, tokens, 8 * dim);
}

}  // namespace

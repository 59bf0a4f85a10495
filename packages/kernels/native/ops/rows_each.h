// Ops that do something to every row of every token, whichever thread does it.
#pragma once

namespace {

struct EachJob {
  Run* run;
  const Op* op;
  Pieces pieces;
  /** Does one unit. */
  void (*unit)(const EachJob& job, uint32_t index, uint32_t thread);
  const uint8_t* source = nullptr;
  uint8_t* target = nullptr;
  uint64_t sourceLength = 0, targetLength = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  const uint8_t* table = nullptr;
  uint32_t position = 0;
  uint8_t* second = nullptr;
  const uint8_t* secondSource = nullptr;
};

inline void eachPiece(void* pointer, uint32_t piece, uint32_t thread) {
  const EachJob& job = *static_cast<const EachJob*>(pointer);
  const uint32_t end = job.pieces.begin(piece + 1);
  for (uint32_t unit = job.pieces.begin(piece); unit < end; unit++) job.unit(job, unit, thread);
}

/** Runs `job.unit` for all units; `cost` of one is in bytes that pass through. */
inline void runEach(EachJob& job, uint64_t units, uint64_t cost) {
  if (job.run->fault != kFaultNone || units == 0) return;
  job.pieces = piecesOf(*job.run, units, cost, 1);
  job.run->parallel(eachPiece, &job, job.pieces.count);
}

inline EachJob eachJob(Run& run, const Op& op, void (*unit)(const EachJob&, uint32_t, uint32_t)) {
  EachJob job;
  job.run = &run;
  job.op = &op;
  job.unit = unit;
  return job;
}

inline const float* floatsOf(const uint8_t* p, uint64_t row, uint64_t dim) { return reinterpret_cast<const float*>(p) + row * dim; }
inline float* floatsOf(uint8_t* p, uint64_t row, uint64_t dim) { return reinterpret_cast<float*>(p) + row * dim; }

/** `tokens * dim` f32 at source and target. */
inline void rowPlaces(EachJob& job, uint64_t rows, uint64_t dim) {
  job.source = job.run->place(job.op->source, rows * dim * 4);
  job.target = job.run->place(job.op->target, rows * dim * 4);
}

}  // namespace

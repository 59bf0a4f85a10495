#include "engine.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace flashlm {
namespace {

constexpr uint64_t kPageBytes = 4096;

uint8_t* allocatePages(uint64_t lengthBytes) {
  const uint64_t whole = (lengthBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  return static_cast<uint8_t*>(std::aligned_alloc(kPageBytes, whole));
}

/** Bytes of one claim of the read loop. */
constexpr uint64_t kReadPieceBytes = 1u << 20;

struct ReadJob {
  const Variant* variant;
  const uint8_t* bytes;
  uint64_t lengthBytes;
  float sums[64];
};

void readPiece(void* pointer, uint32_t piece, uint32_t thread) {
  ReadJob& job = *static_cast<ReadJob*>(pointer);
  const uint64_t first = piece * kReadPieceBytes;
  const uint64_t rest = job.lengthBytes - first;
  job.sums[thread % 64] += job.variant->read(job.bytes + first, rest < kReadPieceBytes ? rest : kReadPieceBytes);
}

struct MultiplyJob {
  const Variant* variant;
  uint64_t count;
  uint32_t lanes;
};

void multiplyPiece(void* pointer, uint32_t, uint32_t) {
  MultiplyJob& job = *static_cast<MultiplyJob*>(pointer);
  float sink[3] = {1.0f, 1e-9f, 0};
  const uint32_t lanes = job.variant->multiplyAdd(job.count, sink);
  __atomic_store_n(&job.lanes, lanes, __ATOMIC_RELAXED);
}

}  // namespace

Engine::Engine(uint8_t* arena, uint64_t arenaBytes, uint32_t threadCount, const Variant& variant) : variant_(variant), pool_(threadCount) {
  for (uint32_t thread = 0; thread < threadCount; thread++) {
    uint8_t* scratch = allocatePages(kScratchBytes);
    if (scratch == nullptr) {
      for (uint8_t* other : scratch_) std::free(other);
      throw std::bad_alloc();
    }
    scratch_.push_back(scratch);
  }
  run_.arena = arena;
  run_.arenaBytes = arenaBytes;
  run_.threadCount = threadCount;
  run_.pool = &pool_;
  run_.doPieces = [](void* pool, PieceFunction function, void* job, uint32_t pieceCount) {
    static_cast<Pool*>(pool)->parallel(function, job, pieceCount);
  };
  run_.scratch = scratch_.data();
  run_.shared = [](void* owner, uint64_t lengthBytes) { return static_cast<Engine*>(owner)->shared(lengthBytes); };
  run_.sharedOwner = this;
}

Engine::~Engine() {
  finish();
  for (uint8_t* scratch : scratch_) std::free(scratch);
  std::free(shared_);
}

uint8_t* Engine::shared(uint64_t lengthBytes) {
  if (lengthBytes <= sharedBytes_) return shared_;
  uint8_t* larger = allocatePages(lengthBytes);
  if (larger == nullptr) return nullptr;
  std::free(shared_);
  shared_ = larger;
  sharedBytes_ = lengthBytes;
  return shared_;
}

bool Engine::compile(const double* words, size_t count, uint32_t& index, std::string& reason) {
  Program program;
  if (!readProgram(words, count, program, reason)) return false;
  index = static_cast<uint32_t>(programs_.size());
  programs_.push_back(std::move(program));
  return true;
}

int Engine::run(uint32_t index) {
  run_.fault = kFaultNone;
  pool_.wake();
  runOps(index);
  return run_.fault;
}

void Engine::start(uint32_t index) {
  run_.fault = kFaultNone;
  isStarted_ = true;
  startedIndex_ = index;
  pool_.lead([](void* engine) { static_cast<Engine*>(engine)->runOps(static_cast<Engine*>(engine)->startedIndex_); }, this);
}

int Engine::finish() {
  if (!isStarted_) return kFaultNone;
  pool_.follow();
  isStarted_ = false;
  return run_.fault;
}

void Engine::runOps(uint32_t index) {
  for (const Op& op : programs_[index].ops) {
    const uint32_t tokens = op.tokenCount == 0 ? 1 : run_.word(op.tokenCount);
    if (tokens != 0) variant_.op(run_, op, tokens);
    if (run_.fault != kFaultNone) break;
  }
}

bool Engine::copy(uint64_t toBytes, uint64_t fromBytes, uint64_t lengthBytes) {
  if (!run_.inside(toBytes, lengthBytes) || !run_.inside(fromBytes, lengthBytes)) return false;
  std::memmove(run_.arena + toBytes, run_.arena + fromBytes, lengthBytes);
  return true;
}

bool Engine::readRange(uint64_t offsetBytes, uint64_t lengthBytes) {
  if (!run_.inside(offsetBytes, lengthBytes)) return false;
  ReadJob job = {&variant_, run_.arena + offsetBytes, lengthBytes, {}};
  pool_.wake();
  pool_.parallel(readPiece, &job, static_cast<uint32_t>((lengthBytes + kReadPieceBytes - 1) / kReadPieceBytes));
  return true;
}

uint32_t Engine::multiplyAdd(uint64_t count) {
  MultiplyJob job = {&variant_, count, 0};
  pool_.wake();
  pool_.parallel(multiplyPiece, &job, pool_.threadCount());
  return job.lanes;
}

}  // namespace flashlm

// CRC32C of records with the instruction for it: three streams at once hide its latency of three cycles.
#pragma once

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace {

#if defined(__x86_64__)
inline uint64_t crcWord(uint64_t crc, uint64_t word) { return _mm_crc32_u64(crc, word); }
inline uint32_t crcByte(uint32_t crc, uint8_t byte) { return _mm_crc32_u8(crc, byte); }
#elif defined(__ARM_FEATURE_CRC32)
inline uint64_t crcWord(uint64_t crc, uint64_t word) { return __crc32cd(static_cast<uint32_t>(crc), word); }
inline uint32_t crcByte(uint32_t crc, uint8_t byte) { return __crc32cb(crc, byte); }
#else
inline uint32_t crcByte(uint32_t crc, uint8_t byte) {
  crc ^= byte;
  for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  return crc;
}
inline uint64_t crcWord(uint64_t crc, uint64_t word) {
  uint32_t result = static_cast<uint32_t>(crc);
  for (int i = 0; i < 8; i++) result = crcByte(result, static_cast<uint8_t>(word >> 8 * i));
  return result;
}
#endif

/** Records that one call reads side by side. */
constexpr uint32_t kCrcRecords = 3;

inline void crcOfThree(const uint8_t* const records[kCrcRecords], uint32_t lengthBytes, uint32_t out[kCrcRecords]) {
  uint64_t crc[kCrcRecords] = {0xffffffff, 0xffffffff, 0xffffffff};
  uint32_t at = 0;
  for (; at + 8 <= lengthBytes; at += 8)
    for (uint32_t i = 0; i < kCrcRecords; i++) {
      uint64_t word;
      std::memcpy(&word, records[i] + at, 8);
      crc[i] = crcWord(crc[i], word);
    }
  for (uint32_t i = 0; i < kCrcRecords; i++) {
    uint32_t rest = static_cast<uint32_t>(crc[i]);
    for (uint32_t k = at; k < lengthBytes; k++) rest = crcByte(rest, records[i][k]);
    out[i] = ~rest;
  }
}

struct CrcJob {
  Run* run;
  const Op* op;
  const uint32_t* order;
  uint32_t* checksums;
  uint32_t begin;
  Pieces pieces;
};

inline void crcPiece(void* pointer, uint32_t piece, uint32_t) {
  const CrcJob& job = *static_cast<const CrcJob*>(pointer);
  const uint32_t end = job.begin + job.pieces.begin(piece + 1);
  for (uint32_t k = job.begin + job.pieces.begin(piece); k < end; k += kCrcRecords) {
    const uint32_t count = leastOf(kCrcRecords, end - k);
    const uint8_t* records[kCrcRecords];
    for (uint32_t i = 0; i < kCrcRecords; i++) {
      const uint64_t word = job.op->addresses + 4ull * job.order[k + (i < count ? i : 0)];
      const uint8_t* address = job.run->place(word, 4);
      if (address == nullptr) return;
      records[i] = job.run->record(reinterpret_cast<const uint32_t*>(address), 0, job.op->count[0]);
      if (records[i] == nullptr) return;
    }
    uint32_t sums[kCrcRecords];
    crcOfThree(records, job.op->count[0], sums);
    for (uint32_t i = 0; i < count; i++) job.checksums[k + i] = sums[i];
  }
}

inline void crc32c(Run& run, const Op& op, uint32_t) {
  CrcJob job;
  job.run = &run;
  job.op = &op;
  job.begin = run.word(op.orderBegin);
  const uint32_t end = run.word(op.orderEnd);
  if (end <= job.begin) return;
  job.order = reinterpret_cast<const uint32_t*>(run.place(op.order, 4ull * end));
  job.checksums = reinterpret_cast<uint32_t*>(run.place(op.target, 4ull * end));
  if (run.fault != kFaultNone) return;
  job.pieces = piecesOf(run, end - job.begin, op.count[0], kCrcRecords);
  run.parallel(crcPiece, &job, job.pieces.count);
}

}  // namespace

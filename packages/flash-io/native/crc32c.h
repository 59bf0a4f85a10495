#pragma once
#include <cstddef>
#include <cstdint>

namespace flash_io {

/** Continues a CRC32C (Castagnoli, reflected, inverted at both ends) over `length` more bytes; start with 0. */
uint32_t crc32c(uint32_t crc, const uint8_t* data, size_t length);

/** "vpclmulqdq", "sse4.2", "armv8-crc" or "table": what this machine's `crc32c` runs on. */
const char* crc32c_method();

/** The table version, on any machine; the oracle-checked fallback. */
uint32_t crc32c_table(uint32_t crc, const uint8_t* data, size_t length);

/** Every way that this machine has, by name, for tests. */
struct Crc32cWay {
  const char* name;
  uint32_t (*compute)(uint32_t crc, const uint8_t* data, size_t length);
};
size_t crc32c_ways(Crc32cWay out[3]);

}  // namespace flash_io

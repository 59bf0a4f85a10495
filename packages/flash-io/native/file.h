#pragma once
#include <cstdint>
#include <string>

namespace flash_io {

enum class DirectIo { kPreferred, kRequired, kOff };

/** An open file. */
struct File {
#if defined(_WIN32)
  void* handle = nullptr;
#else
  int descriptor = -1;
#endif
  uint64_t size = 0;
  /** 1 when the page cache is used. */
  uint32_t alignment = 1;
  /** Why the page cache is used, or "". */
  std::string note;
};

/** Why a file could not be opened. */
struct OpenFault {
  std::string message;
  /** Positive error number of C, or 0. */
  int error = 0;
};

/** Opens for reading, past the page cache where `mode` and the file system allow it. False with `fault` set otherwise. */
bool open_file(const std::string& path, DirectIo mode, File& file, OpenFault& fault);
void close_file(File& file);
/** One blocking read; returns bytes or a negative error number of C. Any thread. */
int64_t read_at(const File& file, uint8_t* memory, uint32_t length, uint64_t offset);

}  // namespace flash_io

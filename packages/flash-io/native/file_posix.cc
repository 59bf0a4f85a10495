#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "backend.h"
#include "file.h"

namespace flash_io {
namespace {

int open_plain(const char* path, int flags) {
  for (;;) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (descriptor >= 0 || errno != EINTR) return descriptor;
  }
}

#if defined(O_DIRECT)

#if defined(O_NOATIME)
constexpr int kNoAccessTime = O_NOATIME;
#else
constexpr int kNoAccessTime = 0;
#endif

/** True when a read of `alignment` bytes at a multiple of it is taken: neither stat's block size nor the platform tells. */
bool accepts(int descriptor, uint32_t alignment, uint64_t size, uint8_t* probe) {
  const off_t position = size > alignment ? alignment : 0;
  // The memory is aligned to no more than asked for, too.
  return pread(descriptor, probe + alignment, alignment, position) >= 0;
}

bool open_direct(const std::string& path, File& file) {
  // Nobody asks when weights were last read. Only a file's owner may leave it unnoted.
  int descriptor = open_plain(path.c_str(), O_DIRECT | kNoAccessTime);
  if (descriptor < 0 && errno == EPERM) descriptor = open_plain(path.c_str(), O_DIRECT);
  if (descriptor < 0) {
    file.note = std::string("O_DIRECT was refused by the file system (") + std::strerror(errno) + ")";
    return false;
  }
  uint8_t* const probe = allocate_pages(2 * kPageBytes);
  for (const uint32_t alignment : {512u, 4096u}) {
    if (!accepts(descriptor, alignment, file.size, probe)) continue;
    file.alignment = alignment;
    break;
  }
  const int error = errno;
  free_pages(probe, 2 * kPageBytes);
  if (file.alignment > 1) {
    close(file.descriptor);
    file.descriptor = descriptor;
    return true;
  }
  file.note = std::string("an aligned O_DIRECT read was refused (") + std::strerror(error) + ")";
  close(descriptor);
  return false;
}

#elif defined(F_NOCACHE)

bool open_direct(const std::string&, File& file) {
  if (fcntl(file.descriptor, F_NOCACHE, 1) == 0) {
    file.alignment = kPageBytes;
    return true;
  }
  file.note = std::string("F_NOCACHE was refused (") + std::strerror(errno) + ")";
  return false;
}

#else

bool open_direct(const std::string&, File& file) {
  file.note = "this system has no way past the page cache";
  return false;
}

#endif

}  // namespace

bool open_file(const std::string& path, DirectIo mode, File& file, OpenFault& fault) {
  file.descriptor = open_plain(path.c_str(), 0);
  if (file.descriptor < 0) {
    fault = {std::strerror(errno), errno};
    return false;
  }
  struct stat status;
  if (fstat(file.descriptor, &status) != 0) {
    fault = {std::strerror(errno), errno};
  } else if (!S_ISREG(status.st_mode)) {
    fault = {"it is not a regular file", 0};
  } else {
    file.size = static_cast<uint64_t>(status.st_size);
    if (mode == DirectIo::kOff) file.note = "direct I/O was switched off";
    else if (!open_direct(path, file) && mode == DirectIo::kRequired)
      fault = {"direct I/O is required, but " + file.note, 0};
    if (fault.message.empty()) return true;
  }
  close_file(file);
  return false;
}

void close_file(File& file) {
  if (file.descriptor >= 0) close(file.descriptor);
  file.descriptor = -1;
}

int64_t read_at(const File& file, uint8_t* memory, uint32_t length, uint64_t offset) {
  const ssize_t count = pread(file.descriptor, memory, length, static_cast<off_t>(offset));
  return count >= 0 ? count : -errno;
}

uint8_t* allocate_pages(size_t length) {
  void* const memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<uint8_t*>(memory);
}

void free_pages(uint8_t* memory, size_t length) { munmap(memory, length); }

void prefer_large_pages(uint8_t* memory, size_t length) {
#if defined(MADV_HUGEPAGE)
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t begin = (address + kPageBytes - 1) / kPageBytes * kPageBytes;
  const uintptr_t end = (address + length) / kPageBytes * kPageBytes;
  // A refusal changes nothing but the speed.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)memory;
  (void)length;
#endif
}

}  // namespace flash_io
#endif

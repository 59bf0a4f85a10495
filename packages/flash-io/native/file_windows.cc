// Not run on any machine of ours yet: written from the documentation of the Windows file functions.
#if defined(_WIN32)
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <cerrno>
#include <new>

#include "backend.h"
#include "file.h"

namespace flash_io {
namespace {

/** What unbuffered reads must be aligned to on every disk that is sold: the size of a physical sector. */
constexpr uint32_t kSectorBytes = 4096;

std::wstring to_wide(const std::string& text) {
  const int length = MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), static_cast<int>(text.size()), wide.data(), length);
  return wide;
}

int to_errno(DWORD error) {
  switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
      return ENOENT;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
      return EACCES;
    case ERROR_TOO_MANY_OPEN_FILES:
      return EMFILE;
    case ERROR_INVALID_PARAMETER:
      return EINVAL;
    case ERROR_NOT_ENOUGH_MEMORY:
      return ENOMEM;
    default:
      return EIO;
  }
}

HANDLE open_handle(const std::wstring& path, DWORD flags) {
  constexpr DWORD kShare = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
  return CreateFileW(path.c_str(), GENERIC_READ, kShare, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED | flags, nullptr);
}

/** Each thread waits for its own read; the event is closed with the thread. */
struct ThreadEvent {
  HANDLE handle = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  ~ThreadEvent() { CloseHandle(handle); }
};

}  // namespace

bool open_file(const std::string& path, DirectIo mode, File& file, OpenFault& fault) {
  const std::wstring wide = to_wide(path);
  HANDLE handle = INVALID_HANDLE_VALUE;
  if (mode != DirectIo::kOff) handle = open_handle(wide, FILE_FLAG_NO_BUFFERING);
  if (handle != INVALID_HANDLE_VALUE) {
    file.alignment = kSectorBytes;
  } else {
    file.note = mode == DirectIo::kOff ? "direct I/O was switched off" : "unbuffered reads were refused";
    handle = open_handle(wide, 0);
  }
  if (handle == INVALID_HANDLE_VALUE) {
    fault = {"the system refuses to open it", to_errno(GetLastError())};
    return false;
  }
  file.handle = handle;
  LARGE_INTEGER size;
  if (GetFileType(handle) != FILE_TYPE_DISK || !GetFileSizeEx(handle, &size)) {
    fault = {"it is not a regular file", 0};
  } else if (mode == DirectIo::kRequired && file.alignment == 1) {
    fault = {"direct I/O is required, but " + file.note, 0};
  } else {
    file.size = static_cast<uint64_t>(size.QuadPart);
    return true;
  }
  close_file(file);
  return false;
}

void close_file(File& file) {
  if (file.handle != nullptr) CloseHandle(file.handle);
  file.handle = nullptr;
}

int64_t read_at(const File& file, uint8_t* memory, uint32_t length, uint64_t offset) {
  static thread_local ThreadEvent event;
  OVERLAPPED position = {};
  position.Offset = static_cast<DWORD>(offset);
  position.OffsetHigh = static_cast<DWORD>(offset >> 32);
  position.hEvent = event.handle;
  DWORD count = 0;
  if (!ReadFile(file.handle, memory, length, nullptr, &position) && GetLastError() != ERROR_IO_PENDING) {
    return GetLastError() == ERROR_HANDLE_EOF ? 0 : -to_errno(GetLastError());
  }
  if (GetOverlappedResult(file.handle, &position, &count, TRUE)) return count;
  return GetLastError() == ERROR_HANDLE_EOF ? 0 : -to_errno(GetLastError());
}

uint8_t* allocate_pages(size_t length) {
  void* const memory = VirtualAlloc(nullptr, length, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<uint8_t*>(memory);
}

void free_pages(uint8_t* memory, size_t) { VirtualFree(memory, 0, MEM_RELEASE); }

// Large pages need a privilege there, and cannot be had for memory that exists.
void prefer_large_pages(uint8_t*, size_t) {}

}  // namespace flash_io
#endif

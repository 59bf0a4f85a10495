#if defined(__linux__)
#include "event_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace flash_io {

void EventThread::start() {
  if (descriptor_ >= 0) return;
  descriptor_ = eventfd(0, EFD_CLOEXEC);
  if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = std::thread([this] { run(); });
}

void EventThread::signal() const {
  const uint64_t one = 1;
  // A counter at its maximum is a signal that was not taken yet.
  while (write(descriptor_, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void EventThread::run() {
  for (;;) {
    uint64_t count;
    const ssize_t result = read(descriptor_, &count, sizeof count);
    if (stopping_.load()) return;
    if (result < 0 && errno != EINTR) return;
    if (result > 0) on_event_();
  }
}

void EventThread::stop() {
  if (descriptor_ < 0) return;
  stopping_.store(true);
  signal();
  thread_.join();
  close(descriptor_);
  descriptor_ = -1;
}

}  // namespace flash_io
#endif

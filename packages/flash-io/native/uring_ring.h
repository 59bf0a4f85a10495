#pragma once
#if defined(__linux__) && __has_include(<linux/io_uring.h>)
#define FLASH_IO_HAS_URING 1
#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace flash_io {

/** An io_uring instance by its system calls alone. One thread uses it, the one that opened it. */
class UringRing {
 public:
  UringRing() = default;
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;
  ~UringRing();

  /** False with `reason` where the kernel refuses; `entries` is how many requests can be prepared at once. */
  bool open(uint32_t entries, std::string& reason);
  /** Returns 0 or a negative error number. */
  int register_with(uint32_t operation, const void* argument, uint32_t count) const;
  /** A cleared entry to be filled, or null when the queue is full until the next `enter`. */
  io_uring_sqe* next_entry();
  uint32_t unsubmitted() const { return tail_ - submitted_; }
  /** Submits what was prepared and waits for `wait_for` completions; returns 0 or a negative error number. */
  int enter(uint32_t wait_for);
  /** Takes one completion. */
  bool pop(uint64_t& user_data, int32_t& result);
  /** True when completions wait in the kernel that only `enter` hands over. */
  bool has_kernel_work() const;

 private:
  int setup(uint32_t entries, uint32_t flags, io_uring_params& params);
  bool map(const io_uring_params& params);

  int descriptor_ = -1;
  uint8_t* rings_ = nullptr;
  size_t rings_length_ = 0;
  io_uring_sqe* entries_ = nullptr;
  size_t entries_length_ = 0;
  uint32_t entry_count_ = 0;
  uint32_t tail_ = 0;
  uint32_t submitted_ = 0;
  uint32_t* submit_head_ = nullptr;
  uint32_t* submit_tail_ = nullptr;
  uint32_t* submit_flags_ = nullptr;
  uint32_t* complete_head_ = nullptr;
  uint32_t* complete_tail_ = nullptr;
  uint32_t complete_mask_ = 0;
  io_uring_cqe* completions_ = nullptr;
};

}  // namespace flash_io
#endif

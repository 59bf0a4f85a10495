#include "uring_ring.h"
#if defined(FLASH_IO_HAS_URING)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace flash_io {
namespace {

// Newer than the headers of some systems this is built on.
constexpr uint32_t kSetupCoopTaskrun = 1u << 8;
constexpr uint32_t kSetupTaskrunFlag = 1u << 9;
constexpr uint32_t kSetupSingleIssuer = 1u << 12;
constexpr uint32_t kSetupDeferTaskrun = 1u << 13;
constexpr uint32_t kSubmitTaskrun = 1u << 2;

#if defined(__NR_io_uring_setup)
constexpr long kSetupCall = __NR_io_uring_setup;
constexpr long kEnterCall = __NR_io_uring_enter;
constexpr long kRegisterCall = __NR_io_uring_register;
#else
constexpr long kSetupCall = 425;
constexpr long kEnterCall = 426;
constexpr long kRegisterCall = 427;
#endif

uint32_t load_acquire(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void store_release(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

std::string describe_refusal(int error) {
  if (error == ENOSYS) return "this kernel has no io_uring";
  if (error == EPERM || error == EACCES) return "the system refuses io_uring (containers often do)";
  return std::string("io_uring_setup failed: ") + std::strerror(error);
}

}  // namespace

UringRing::~UringRing() {
  if (entries_ != nullptr) munmap(entries_, entries_length_);
  if (rings_ != nullptr) munmap(rings_, rings_length_);
  if (descriptor_ >= 0) close(descriptor_);
}

int UringRing::setup(uint32_t entries, uint32_t flags, io_uring_params& params) {
  std::memset(&params, 0, sizeof params);
  params.flags = flags;
  descriptor_ = static_cast<int>(syscall(kSetupCall, entries, &params));
  return descriptor_ >= 0 ? 0 : errno;
}

bool UringRing::open(uint32_t entries, std::string& reason) {
  io_uring_params params;
  // From the newest kernel's ways to the oldest: completions handled only when this thread asks for them cost least.
  constexpr uint32_t kWays[] = {kSetupSingleIssuer | kSetupDeferTaskrun | kSetupTaskrunFlag,
                                kSetupCoopTaskrun | kSetupTaskrunFlag, 0};
  int error = 0;
  for (const uint32_t flags : kWays) {
    error = setup(entries, flags, params);
    if (error != EINVAL) break;
  }
  if (error != 0) {
    reason = describe_refusal(error);
    return false;
  }
  constexpr uint32_t kNeeded = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS;
  if ((params.features & kNeeded) != kNeeded) {
    reason = "this kernel's io_uring is too old (5.6 or newer is needed)";
    return false;
  }
  if (!map(params)) {
    reason = std::string("the rings of io_uring could not be mapped: ") + std::strerror(errno);
    return false;
  }
  return true;
}

bool UringRing::map(const io_uring_params& params) {
  const size_t submit_length = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  const size_t complete_length = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  rings_length_ = submit_length > complete_length ? submit_length : complete_length;
  entries_length_ = params.sq_entries * sizeof(io_uring_sqe);
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  void* const rings = mmap(nullptr, rings_length_, kProtection, MAP_SHARED | MAP_POPULATE, descriptor_, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return false;
  rings_ = static_cast<uint8_t*>(rings);
  void* const entries = mmap(nullptr, entries_length_, kProtection, MAP_SHARED | MAP_POPULATE, descriptor_, IORING_OFF_SQES);
  if (entries == MAP_FAILED) return false;
  entries_ = static_cast<io_uring_sqe*>(entries);
  entry_count_ = params.sq_entries;
  const auto word = [this](uint32_t offset) { return reinterpret_cast<uint32_t*>(rings_ + offset); };
  submit_head_ = word(params.sq_off.head);
  submit_tail_ = word(params.sq_off.tail);
  submit_flags_ = word(params.sq_off.flags);
  complete_head_ = word(params.cq_off.head);
  complete_tail_ = word(params.cq_off.tail);
  complete_mask_ = *word(params.cq_off.ring_mask);
  completions_ = reinterpret_cast<io_uring_cqe*>(rings_ + params.cq_off.cqes);
  uint32_t* const array = word(params.sq_off.array);
  for (uint32_t index = 0; index < entry_count_; index++) array[index] = index;
  return true;
}

int UringRing::register_with(uint32_t operation, const void* argument, uint32_t count) const {
  const long result = syscall(kRegisterCall, descriptor_, operation, argument, count);
  return result >= 0 ? 0 : -errno;
}

io_uring_sqe* UringRing::next_entry() {
  if (tail_ - load_acquire(submit_head_) >= entry_count_) return nullptr;
  io_uring_sqe* const entry = &entries_[tail_ & (entry_count_ - 1)];
  std::memset(entry, 0, sizeof *entry);
  tail_++;
  return entry;
}

int UringRing::enter(uint32_t wait_for) {
  store_release(submit_tail_, tail_);
  const uint32_t flags = wait_for > 0 || has_kernel_work() ? IORING_ENTER_GETEVENTS : 0;
  const long result = syscall(kEnterCall, descriptor_, tail_ - submitted_, wait_for, flags, nullptr, 0);
  if (result < 0) return -errno;
  submitted_ += static_cast<uint32_t>(result);
  return 0;
}

bool UringRing::pop(uint64_t& user_data, int32_t& result) {
  const uint32_t head = *complete_head_;
  if (head == load_acquire(complete_tail_)) return false;
  const io_uring_cqe& completion = completions_[head & complete_mask_];
  user_data = completion.user_data;
  result = completion.res;
  store_release(complete_head_, head + 1);
  return true;
}

bool UringRing::has_kernel_work() const {
  constexpr uint32_t kWork = kSubmitTaskrun | IORING_SQ_CQ_OVERFLOW;
  return (__atomic_load_n(submit_flags_, __ATOMIC_RELAXED) & kWork) != 0;
}

}  // namespace flash_io
#endif

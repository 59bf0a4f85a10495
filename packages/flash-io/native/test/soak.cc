// Reads from several threads, each with a reader of its own, with faults injected below the reader; every byte is checked.
// Built plain, with AddressSanitizer and with ThreadSanitizer by tools/prove/flash-io-soak.mjs.
// usage: soak FOLDER BACKEND READS THREADS SEED [off] -> one line of counts; exit code 1 on a wrong byte or a lost read
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../backend.h"
#include "../crc32c.h"
#include "../fault_hook.h"

namespace flash_io {
namespace {

constexpr uint64_t kFileBytes = 4 * 1024 * 1024 + 777;
constexpr uint32_t kReadBytesMost = 8 * 1024;
constexpr uint32_t kBatchReads = 48;
constexpr uint32_t kBatches = 4;
constexpr uint32_t kInFlight = 16;
constexpr uint32_t kAwakeUs = 50;
/** Reads of a reader's life; then it is closed with reads in flight. */
constexpr uint64_t kLifeReads = 20000;
constexpr uint8_t kUntouched = 0xee;

struct Random {
  uint64_t state;
  uint64_t draw() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
  }
  bool one_in(uint64_t count) { return draw() % count == 0; }
};

uint8_t byte_at(uint64_t offset) { return static_cast<uint8_t>((offset * 0x9e3779b97f4a7c15u) >> 56); }

struct Counts {
  uint64_t landed = 0, failed = 0, cut_short = 0, aborted = 0, lives = 0, wrong = 0, lost = 0;
};

/** Faults are drawn by place and time, not from shared state: threads must not be ordered by the harness. */
std::atomic<uint32_t> fault_clock{0};

/** One batch in flight and what is known about its reads. */
struct Flight {
  bool open = false;
  std::vector<ReadSpec> specs;
  std::vector<bool> ended;
  size_t ended_count = 0;
};

class Soak {
 public:
  Soak(const std::string& path, const std::string& contents, const std::string& backend, DirectIo mode, uint64_t reads,
       uint64_t seed)
      : path_(path), contents_(contents), backend_name_(backend), mode_(mode), reads_(reads), random_{seed} {
    memory_ = allocate_pages(kMemoryBytes);
    std::memset(memory_, kUntouched, kMemoryBytes);
  }
  ~Soak() { free_pages(memory_, kMemoryBytes); }

  Counts run() {
    while (submitted_ < reads_) live();
    return counts_;
  }

 private:
  static constexpr size_t kSlotBytes = kReadBytesMost + 1024;
  static constexpr size_t kMemoryBytes = (kBatches * kBatchReads * kSlotBytes + 2 * kPageBytes) & ~(kPageBytes - 1);

  /** Opens a reader, uses it, and closes it while reads are out. */
  void live() {
    counts_.lives++;
    std::vector<File> files(1);
    OpenFault fault;
    if (!open_file(path_, mode_, files[0], fault)) {
      std::fprintf(stderr, "%s: %s\n", path_.c_str(), fault.message.c_str());
      std::exit(1);
    }
    const BackendOptions options{&files, kInFlight, kAwakeUs, [this] { progress_.fetch_add(1, std::memory_order_relaxed); }};
    std::string reason;
    {
      auto backend = backend_name_ == "io_uring" ? make_uring_backend(options, reason) : make_pool_backend(options);
      if (backend == nullptr) {
        std::fprintf(stderr, "%s: %s\n", backend_name_.c_str(), reason.c_str());
        std::exit(1);
      }
      backend->attach(memory_, kMemoryBytes);
      const uint64_t until = submitted_ + kLifeReads;
      while (submitted_ < until && submitted_ < reads_) turn(*backend);
      backend->shutdown();
      while (collect(*backend, 0) > 0) {
      }
      for (Flight& flight : flights_) {
        if (flight.open) counts_.lost += flight.specs.size() - flight.ended_count;
        flight.open = false;
      }
    }
    close_file(files[0]);
  }

  void turn(Backend& backend) {
    const uint32_t batch = static_cast<uint32_t>(random_.draw() % kBatches);
    if (!flights_[batch].open) submit(backend, batch);
    if (random_.one_in(16)) backend.cancel(static_cast<uint32_t>(random_.draw() % kBatches));
    if (random_.one_in(64)) backend.watch(random_.one_in(2));
    bool all_open = true;
    for (const Flight& flight : flights_) all_open &= flight.open;
    collect(backend, all_open ? 1 + random_.draw() % kBatchReads : 0);
  }

  void submit(Backend& backend, uint32_t batch) {
    Flight& flight = flights_[batch];
    flight.specs.clear();
    for (uint32_t index = 0; index < kBatchReads; index++) {
      const bool aligned = random_.one_in(2);
      uint32_t length = static_cast<uint32_t>(random_.draw() % kReadBytesMost);
      uint64_t offset = random_.draw() % (kFileBytes - length);
      uint32_t shift = static_cast<uint32_t>(random_.draw() % 64);
      if (aligned) {
        length &= ~511u;
        offset &= ~uint64_t{511};
        shift = 0;
      }
      uint8_t* slot = memory_ + kPageBytes + (batch * kBatchReads + index) * kSlotBytes + shift;
      if (aligned) slot = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(slot) + 511) & ~uintptr_t{511});
      flight.specs.push_back({offset, slot, length, 0});
    }
    flight.ended.assign(kBatchReads, false);
    flight.ended_count = 0;
    flight.open = true;
    submitted_ += kBatchReads;
    backend.submit(flight.specs.data(), kBatchReads, batch, random_.one_in(2));
  }

  size_t collect(Backend& backend, size_t wait_for) {
    Completion completions[128];
    const size_t count = backend.collect(completions, 128, wait_for);
    for (size_t at = 0; at < count; at++) take(completions[at]);
    return count;
  }

  void take(const Completion& completion) {
    Flight& flight = flights_[completion.batch];
    if (!flight.open || flight.ended[completion.index]) {
      counts_.wrong++;
      return;
    }
    flight.ended[completion.index] = true;
    check(flight.specs[completion.index], completion.outcome);
    if (++flight.ended_count == flight.specs.size()) flight.open = false;
  }

  void check(const ReadSpec& spec, Outcome outcome) {
    bool right = true;
    if (outcome == Outcome::kLanded) {
      counts_.landed++;
      right = std::memcmp(spec.target, contents_.data() + spec.offset, spec.length) == 0;
    } else if (outcome == Outcome::kAborted) {
      counts_.aborted++;
      for (uint32_t at = 0; at < spec.length; at += 61) right &= spec.target[at] == kUntouched;
    } else {
      (outcome == Outcome::kShort ? counts_.cut_short : counts_.failed)++;
    }
    if (!right) counts_.wrong++;
    std::memset(spec.target, kUntouched, spec.length);
    // The bytes around a target belong to nobody.
    if (spec.target[spec.length] != kUntouched || spec.target[-1] != kUntouched) counts_.wrong++;
  }

  const std::string path_;
  const std::string& contents_;
  const std::string backend_name_;
  const DirectIo mode_;
  const uint64_t reads_;
  Random random_;
  uint8_t* memory_;
  Flight flights_[kBatches];
  std::atomic<uint64_t> progress_{0};
  uint64_t submitted_ = 0;
  Counts counts_;
};

/** Every way of computing CRC32C that this machine has, against the definition, bit by bit. */
bool checksums_agree() {
  Random random{11};
  std::vector<uint8_t> bytes(13000);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.draw());
  Crc32cWay ways[3];
  const size_t way_count = crc32c_ways(ways);
  uint32_t expected = ~0u;
  bool agree = true;
  for (size_t length = 0; length < bytes.size(); length++) {
    if (length < 600 || length % 13 == 0) {
      for (size_t way = 0; way < way_count; way++) agree &= ways[way].compute(0, bytes.data(), length) == ~expected;
    }
    expected ^= bytes[length];
    for (int bit = 0; bit < 8; bit++) expected = (expected & 1) ? (expected >> 1) ^ 0x82f63b78 : expected >> 1;
  }
  return agree;
}

int main_of(int count, char** arguments) {
  if (count < 6) return 2;
  if (!checksums_agree()) {
    std::fprintf(stderr, "a way of computing CRC32C gives a wrong sum\n");
    return 1;
  }
  const std::string path = std::string(arguments[1]) + "/soak.bin";
  const uint64_t reads = std::strtoull(arguments[3], nullptr, 10);
  const int thread_count = std::atoi(arguments[4]);
  const uint64_t seed = std::strtoull(arguments[5], nullptr, 10);
  const DirectIo mode = count > 6 ? DirectIo::kOff : DirectIo::kPreferred;
  std::string contents(kFileBytes, '\0');
  for (uint64_t offset = 0; offset < kFileBytes; offset++) contents[offset] = static_cast<char>(byte_at(offset));
  std::ofstream(path, std::ios::binary) << contents;
  std::vector<Counts> results(thread_count);
  std::vector<std::thread> threads;
  for (int index = 0; index < thread_count; index++) {
    threads.emplace_back([&, index] {
      results[index] = Soak(path, contents, arguments[2], mode, reads / thread_count, seed + index).run();
    });
  }
  Counts sum;
  for (int index = 0; index < thread_count; index++) {
    threads[index].join();
    const Counts& one = results[index];
    sum.landed += one.landed, sum.failed += one.failed, sum.cut_short += one.cut_short, sum.aborted += one.aborted;
    sum.lives += one.lives, sum.wrong += one.wrong, sum.lost += one.lost;
  }
  std::remove(path.c_str());
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("{\"landed\":%llu,\"failed\":%llu,\"short\":%llu,\"aborted\":%llu,\"readers\":%llu,\"wrong\":%llu,\"lost\":%llu}\n",
              number(sum.landed), number(sum.failed), number(sum.cut_short), number(sum.aborted), number(sum.lives),
              number(sum.wrong), number(sum.lost));
  return sum.wrong == 0 && sum.lost == 0 ? 0 : 1;
}

}  // namespace

int64_t inject_fault(const Read& read, int64_t result) {
  if (result <= 0) return result;
  const uint32_t draw = (fault_clock.fetch_add(1, std::memory_order_relaxed) * 0x9e3779b1u) >> 16;
  if (draw % 97 == 0) return -5;                  // EIO
  if (draw % 89 == 0) return 0;                   // the file seems to end
  if (draw % 31 == 0) return (result + 1) / 2;    // a partial read, to be continued
  if (draw % 83 == 0) return -4;                  // EINTR
  if (draw % 79 == 0 && !read.bounces) return -22;  // EINVAL: more alignment wanted than was found
  return result;
}

}  // namespace flash_io

int main(int count, char** arguments) { return flash_io::main_of(count, arguments); }

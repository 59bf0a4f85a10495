// A kernel set: arena, threads, scratch and compiled programs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pool.h"
#include "program.h"
#include "variants.h"

namespace flashlm {

class Engine {
 public:
  /** @throws std::system_error, std::bad_alloc. */
  Engine(uint8_t* arena, uint64_t arenaBytes, uint32_t threadCount, const Variant& variant);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /** Index of the program; false and a reason where the words are none. */
  bool compile(const double* words, size_t count, uint32_t& index, std::string& reason);
  /** A Fault. */
  int run(uint32_t index);
  /** Begins a program on the other threads; nothing else is called until `finish`. */
  void start(uint32_t index);
  /** Takes part in what is left of the program that was started, if any. A Fault. */
  int finish();
  size_t programCount() const { return programs_.size(); }

  /** Copies within the arena; ranges may overlap. False outside the arena. */
  bool copy(uint64_t toBytes, uint64_t fromBytes, uint64_t lengthBytes);
  /** Reads a range of the arena on all threads, as the benchmarks' measure of memory. False outside the arena. */
  bool readRange(uint64_t offsetBytes, uint64_t lengthBytes);
  /** Does `count` vector multiply-adds on every thread; returns how many lanes a vector has. */
  uint32_t multiplyAdd(uint64_t count);

 private:
  uint8_t* shared(uint64_t lengthBytes);
  void runOps(uint32_t index);

  const Variant& variant_;
  Pool pool_;
  std::vector<uint8_t*> scratch_;
  uint8_t* shared_ = nullptr;
  uint64_t sharedBytes_ = 0;
  std::vector<Program> programs_;
  Run run_;
  bool isStarted_ = false;
  uint32_t startedIndex_ = 0;
};

}  // namespace flashlm

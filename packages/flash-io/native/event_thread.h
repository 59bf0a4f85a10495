#pragma once
#include <atomic>
#include <functional>
#include <thread>

namespace flash_io {

/** A thread that sleeps on an eventfd and calls `on_event` after each signal. Linux. */
class EventThread {
 public:
  explicit EventThread(std::function<void()> on_event) : on_event_(std::move(on_event)) {}
  ~EventThread() { stop(); }
  /** Idempotent. @throws std::system_error where no descriptor or thread is to be had. */
  void start();
  /** The eventfd; -1 before `start`. */
  int descriptor() const { return descriptor_; }
  void signal() const;
  void stop();

 private:
  void run();

  std::function<void()> on_event_;
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  int descriptor_ = -1;
};

}  // namespace flash_io

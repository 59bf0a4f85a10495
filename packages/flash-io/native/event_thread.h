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
  /** Makes the eventfd; false with errno set where there is none to be had. */
  bool open();
  /** Idempotent, after `open`. @throws std::system_error where no thread is to be had. */
  void start();
  /** The eventfd; -1 before `open`. */
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

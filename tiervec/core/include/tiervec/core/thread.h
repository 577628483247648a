#pragma once

#include <atomic>
#include <limits>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include <pthread.h>

#include <tiervec/core/process.h>
#include <tiervec/core/status.h>

namespace tiervec {

/// The one way to start a thread. Joins at its end, as std::jthread does, and differs in two ways:
///
/// - a system that gives no more threads (RLIMIT_NPROC, pids.max) is Error(kResourceExhausted);
/// - in a forked child, which has no such thread, it is not joinable, and its end does nothing: what the thread was
///   known by may be another thread's by now.
class Thread {
 public:
  Thread() = default;
  /// `what` begins the sentence of the error: "a search", "the data plane".
  template <class Body>
  Thread(const char* what, Body&& body) {
    try {
      take_start();
      thread_ = std::make_unique<std::thread>(std::forward<Body>(body));
    } catch (const std::system_error& error) {
      throw refused(what, error);
    }
  }
  ~Thread() { end(); }
  Thread(Thread&& other) noexcept = default;
  Thread& operator=(Thread&& other) noexcept {
    end();
    origin_ = other.origin_;
    thread_ = std::move(other.thread_);
    return *this;
  }

  [[nodiscard]] bool joinable() const noexcept { return thread_ != nullptr && origin_.here(); }
  /// Requires joinable().
  void join() {
    thread_->join();
    thread_.reset();
  }
  [[nodiscard]] pthread_t native_handle() const noexcept { return thread_->native_handle(); }

  /// For tests: as if the system gave only so many more threads.
  static void allow_starts(long starts) noexcept;
  static void allow_all_starts() noexcept { allow_starts(std::numeric_limits<long>::max()); }

 private:
  static void take_start();
  [[nodiscard]] static Error refused(const char* what, const std::system_error& error);

  void end() noexcept {
    if (thread_ == nullptr) return;
    if (origin_.here()) {
      thread_->join();
    } else {
      [[maybe_unused]] const std::thread* const left = thread_.release();
    }
  }

  Origin origin_;
  std::unique_ptr<std::thread> thread_;
};

}  // namespace tiervec

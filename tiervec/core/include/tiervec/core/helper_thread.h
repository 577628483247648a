#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <type_traits>

#include <tiervec/core/thread.h>

namespace tiervec {

/// A second thread for work of microseconds, which a sleeping thread would reach too late. So it polls for work while
/// calls follow each other within kPolling, from the end of one to the start of the next, and else sleeps and does
/// nothing. One caller at a time.
class HelperThread {
 public:
  static constexpr std::chrono::microseconds kPolling{500};

  /// What it took since it was asked last, in nanoseconds.
  struct Time {
    double cpu_ns = 0;      // by the clock of the thread
    double waiting_ns = 0;  // elapsed, in which it polled for parts; in it up to the last part or sleep
  };

  /// Throws Error(kResourceExhausted).
  HelperThread();
  ~HelperThread();
  HelperThread(const HelperThread&) = delete;
  HelperThread& operator=(const HelperThread&) = delete;

  /// Runs both at the same time: `own` here and `other` there, or here as well when the helper sleeps, or has not begun
  /// by the end of `own`. Both must be noexcept.
  template <class Own, class Other>
  void run_both(Own&& own, Other&& other) noexcept {
    static_assert(std::is_nothrow_invocable_v<Own&> && std::is_nothrow_invocable_v<Other&>);
    using Work = std::remove_reference_t<Other>;
    if (asleep_.load(std::memory_order_relaxed)) {
      own();
      other();
      return;
    }
    offer({[](const void* work) noexcept { (*const_cast<Work*>(static_cast<const Work*>(work)))(); }, &other});
    own();
    if (!take_back()) return;
    other();
  }

  /// Around every call that can use the helper. The end wakes it for the next call when this one began soon after the
  /// last had ended.
  void begin_call() noexcept;
  void end_call() noexcept;

  /// It waits for a call that wakes it, or is about to.
  [[nodiscard]] bool asleep() const noexcept { return asleep_.load(std::memory_order_relaxed); }
  /// How often a call has woken it.
  [[nodiscard]] std::uint32_t wakes() const noexcept { return wakes_.load(std::memory_order_relaxed); }

  /// A look at the clock of another thread takes a microsecond: once per call, by the caller, and not for every part.
  [[nodiscard]] Time take_time() noexcept;

 private:
  struct Part {
    void (*run)(const void*) noexcept = nullptr;
    const void* work = nullptr;
  };
  enum State : std::uint32_t { kNone, kOffered, kTaken, kStop };

  void offer(const Part& part) noexcept;
  /// True: the part has not begun, and will not. Otherwise it has ended.
  [[nodiscard]] bool take_back() noexcept;
  void run() noexcept;
  /// False: it is time to stop.
  [[nodiscard]] bool wait_for_part() noexcept;
  void sleep() noexcept;
  void wake() noexcept;

  alignas(64) std::atomic<std::uint32_t> state_{kNone};
  Part part_;
  alignas(64) std::atomic<bool> asleep_{false};
  std::atomic<std::uint32_t> wakes_{0};  // what it sleeps on
  std::chrono::steady_clock::time_point last_end_{};
  bool followed_soon_ = false;  // this call the last one
  double taken_cpu_ns_ = 0;
  alignas(64) std::atomic<std::uint64_t> waiting_ns_{0};
  Thread thread_;
  clockid_t cpu_clock_{};
};

}  // namespace tiervec

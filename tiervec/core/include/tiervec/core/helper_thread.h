#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>

#include <sys/types.h>

namespace tiervec {

/// A second thread for work of microseconds, which a sleeping thread would reach too late. After its part of some work
/// it polls for more, and sleeps when none came for a while. One caller at a time.
class HelperThread {
 public:
  /// What it took since it was asked last, in nanoseconds.
  struct Time {
    double awake_ns = 0;  // its CPU time, as far as it had a processor for itself
    double busy_ns = 0;   // of that, with parts of work
  };

  HelperThread();
  ~HelperThread();
  HelperThread(const HelperThread&) = delete;
  HelperThread& operator=(const HelperThread&) = delete;

  /// Runs both at the same time: `own` here and `other` there, or here as well when the helper sleeps too deeply to
  /// have begun by the end of `own`. Both must be noexcept.
  template <class Own, class Other>
  void run_both(Own&& own, Other&& other) noexcept {
    static_assert(std::is_nothrow_invocable_v<Own&> && std::is_nothrow_invocable_v<Other&>);
    using Work = std::remove_reference_t<Other>;
    offer({[](const void* work) noexcept { (*const_cast<Work*>(static_cast<const Work*>(work)))(); }, &other});
    own();
    if (!take_back()) return;
    other();
  }

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

  alignas(64) std::atomic<std::uint32_t> state_{kNone};
  Part part_;
  alignas(64) std::atomic<std::uint64_t> awake_ns_{0};
  std::atomic<std::uint64_t> busy_ns_{0};
  const pid_t process_;  // a fork has no such thread
  std::thread thread_;
};

}  // namespace tiervec

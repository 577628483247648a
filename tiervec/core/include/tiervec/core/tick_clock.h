#pragma once

// A clock for the read path: the processor's time stamp counter where it runs at one rate on all cores, else
// std::chrono::steady_clock. About 10 ns a look instead of 25.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace tiervec {

/// A moment in ticks of TickClock.
using Ticks = std::uint64_t;
inline constexpr Ticks kNever = std::numeric_limits<Ticks>::max();

class TickClock {
 public:
  [[nodiscard]] static Ticks now() noexcept {
#if defined(__x86_64__)
    if (kInvariantTsc) [[likely]] {
      return __rdtsc();
    }
#endif
    return steady_ns();
  }

  /// Ticks in a nanosecond. The first call of a process calibrates: it takes about 10 ms.
  [[nodiscard]] static double ticks_per_ns();

  /// The tick at which `when` arrives, kNever for time_point::max(). May calibrate.
  [[nodiscard]] static Ticks at(std::chrono::steady_clock::time_point when);
  /// The tick that lies `delay` ahead. May calibrate.
  [[nodiscard]] static Ticks after(std::chrono::nanoseconds delay);

  /// "tsc" or "steady_clock".
  [[nodiscard]] static const char* source() noexcept;

 private:
  static std::uint64_t steady_ns() noexcept {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
            .count());
  }

#if defined(__x86_64__)
  static bool invariant_tsc() noexcept {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    return __get_cpuid(0x80000007U, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1U << 8U)) != 0;
  }
  static inline const bool kInvariantTsc = invariant_tsc();
#endif
};

/// A clock that stands still until it is advanced, from any thread. For tests of deadlines, waits and back-offs, so
/// that none depends on how busy the machine is. It counts the ticks of TickClock.
class ManualClock {
 public:
  [[nodiscard]] Ticks now() const noexcept { return tick_at(elapsed_ns_.load(std::memory_order_relaxed)); }
  /// The tick that lies `delay` ahead: exactly where so many advances lead.
  [[nodiscard]] Ticks after(std::chrono::nanoseconds delay) const noexcept {
    return tick_at(elapsed_ns_.load(std::memory_order_relaxed) + delay.count());
  }
  void advance(std::chrono::nanoseconds by) noexcept { elapsed_ns_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  static constexpr Ticks kStart = Ticks{1} << 40U;  // a machine that has run for some minutes

  [[nodiscard]] Ticks tick_at(std::int64_t elapsed_ns) const noexcept {
    return kStart + static_cast<Ticks>(static_cast<double>(elapsed_ns) * ticks_per_ns_);
  }

  double ticks_per_ns_ = TickClock::ticks_per_ns();
  std::atomic<std::int64_t> elapsed_ns_{0};
};

/// Where a worker or a queue reads the time: TickClock, or the manual clock that its test made it with.
class TimeSource {
 public:
  TimeSource() = default;
  /// The clock outlives the source and all copies.
  explicit TimeSource(const ManualClock& clock) noexcept : manual_(&clock) {}

  [[nodiscard]] Ticks now() const noexcept {
    if (manual_ == nullptr) [[likely]] {
      return TickClock::now();
    }
    return manual_->now();
  }

 private:
  const ManualClock* manual_ = nullptr;
};

}  // namespace tiervec

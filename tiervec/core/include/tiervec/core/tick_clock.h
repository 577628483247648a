#pragma once

// A clock for the read path: the processor's time stamp counter where it runs at one rate on all cores, else
// std::chrono::steady_clock. About 10 ns a look instead of 25.

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

}  // namespace tiervec

#include <tiervec/rdma/tick_clock.h>

namespace tiervec::rdma {

namespace {

constexpr double kCalibrationNs = 10e6;

double measure_ticks_per_ns() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const Ticks first = TickClock::now();
  double elapsed_ns = 0;
  Ticks last = first;
  while (elapsed_ns < kCalibrationNs) {
    elapsed_ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
    last = TickClock::now();
  }
  return static_cast<double>(last - first) / elapsed_ns;
}

}  // namespace

double TickClock::ticks_per_ns() {
#if defined(__x86_64__)
  if (kInvariantTsc) {
    static const double rate = measure_ticks_per_ns();
    return rate;
  }
#endif
  return 1.0;
}

Ticks TickClock::at(std::chrono::steady_clock::time_point when) {
  if (when == std::chrono::steady_clock::time_point::max()) {
    return kNever;
  }
  return after(std::chrono::duration_cast<std::chrono::nanoseconds>(when - std::chrono::steady_clock::now()));
}

Ticks TickClock::after(std::chrono::nanoseconds delay) {
  const double ticks = static_cast<double>(delay.count()) * ticks_per_ns();
  const Ticks start = now();
  if (ticks < 0) {
    return -ticks < static_cast<double>(start) ? start - static_cast<Ticks>(-ticks) : 0;
  }
  constexpr double kFarthest = 0x1p62;  // centuries; a later moment is never
  return ticks < kFarthest ? start + static_cast<Ticks>(ticks) : kNever;
}

const char* TickClock::source() noexcept {
#if defined(__x86_64__)
  if (kInvariantTsc) {
    return "tsc";
  }
#endif
  return "steady_clock";
}

}  // namespace tiervec::rdma

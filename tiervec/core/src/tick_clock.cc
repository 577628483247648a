#include <tiervec/core/tick_clock.h>

#include <atomic>

namespace tiervec {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kCalibration{10};

struct Moment {
  Ticks tick;
  Clock::time_point time;
};

// Both clocks at one moment. A thread may be held up between two looks, so the closest of several pairs counts.
Moment look_at_both() {
  Moment closest{};
  Ticks least = kNever;
  for (int i = 0; i < 16; ++i) {
    const Ticks before = TickClock::now();
    const Clock::time_point time = Clock::now();
    const Ticks between = TickClock::now() - before;
    if (between < least) {
      least = between;
      closest = {before + between / 2, time};
    }
  }
  return closest;
}

double measure_ticks_per_ns() {
  const Moment start = look_at_both();
  while (Clock::now() - start.time < kCalibration) {
  }
  const Moment end = look_at_both();
  return static_cast<double>(end.tick - start.tick) /
         std::chrono::duration<double, std::nano>(end.time - start.time).count();
}

}  // namespace

double TickClock::ticks_per_ns() {
#if defined(__x86_64__)
  if (kInvariantTsc) {
    // No static initialiser: its lock would stay taken in a child that is forked meanwhile. Measuring twice is
    // harmless.
    static std::atomic<double> known{0};
    double rate = known.load(std::memory_order_relaxed);
    if (rate == 0) [[unlikely]] {
      double none = 0;
      rate = measure_ticks_per_ns();
      if (!known.compare_exchange_strong(none, rate)) rate = none;
    }
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

}  // namespace tiervec

#include <tiervec/core/idle_step.h>

#include <algorithm>
#include <thread>

namespace tiervec {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kSpinTurns = 1024;
constexpr std::chrono::nanoseconds kCrowdedSpin = 20us;
constexpr std::chrono::nanoseconds kLongWait = 1ms;
constexpr std::chrono::nanoseconds kShortestSleep = 20us;  // the kernel adds about 50 us
constexpr std::chrono::nanoseconds kLongestSleep = 1ms;

}  // namespace

IdleStep idle_step(std::uint32_t turns, std::chrono::nanoseconds waited, bool is_crowded) noexcept {
  const bool is_long = waited >= (is_crowded ? kCrowdedSpin : kLongWait);
  if (is_long) return {IdleStep::Kind::kSleep, std::clamp(waited / 8, kShortestSleep, kLongestSleep)};
  return {turns > kSpinTurns ? IdleStep::Kind::kYield : IdleStep::Kind::kSpin, {}};
}

void take(const IdleStep& step) noexcept {
  if (step.kind == IdleStep::Kind::kSleep) {
    std::this_thread::sleep_for(step.sleep);
  } else if (step.kind == IdleStep::Kind::kYield) {
    std::this_thread::yield();
  }
}

}  // namespace tiervec

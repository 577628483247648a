#pragma once

#include <chrono>
#include <cstdint>

namespace tiervec {

/// What a thread does next that has looked for an answer and found none.
struct IdleStep {
  enum class Kind : std::uint8_t { kSpin, kYield, kSleep };
  Kind kind = Kind::kSpin;
  std::chrono::nanoseconds sleep{0};
};

/// After `turns` looks in vain, `waited` after the first. First it spins: most devices answer sooner than a thread
/// falls asleep. Then it lets other threads have the core. A wait that has become long ends in sleep, for an eighth of
/// what it has taken so far, so that sleep makes no wait much longer. With `is_crowded` (PollingBudget) it sleeps
/// instead of yielding, after a spin bounded in time.
IdleStep idle_step(std::uint32_t turns, std::chrono::nanoseconds waited, bool is_crowded) noexcept;

/// Yields or sleeps as the step says.
void take(const IdleStep& step) noexcept;

}  // namespace tiervec

#pragma once

#include <chrono>
#include <thread>

#include <tiervec/core/tick_clock.h>

namespace tiervec::rdma::testing {

/// Lets a manual clock run while it lives, a millisecond at a time and as fast as the machine has time for it: for code
/// that waits in a loop of its own.
class PassingTime {
 public:
  explicit PassingTime(ManualClock& clock)
      : thread_([&clock](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            clock.advance(std::chrono::milliseconds(1));
            std::this_thread::yield();
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace tiervec::rdma::testing

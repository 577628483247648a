#pragma once

#include <atomic>

namespace tiervec {

/// Counts the threads that look for answers in a loop, against the CPU quota of the process. A group that has used up
/// its quota stands still for the rest of the period, usually 100 ms, with all its threads: so waiting must not use it
/// up.
class PollingBudget {
 public:
  /// `threads` may poll at once; 0 means any number.
  explicit PollingBudget(unsigned threads) noexcept : threads_(threads) {}
  PollingBudget(const PollingBudget&) = delete;
  PollingBudget& operator=(const PollingBudget&) = delete;

  /// The whole CPUs of the quota that the process had when it first asked.
  static PollingBudget& of_process();

  /// One more than may poll at once does: all of them should sleep early.
  [[nodiscard]] bool is_exceeded() const noexcept {
    return threads_ != 0 && polling_.load(std::memory_order_relaxed) > threads_;
  }

  /// Counts its thread for as long as it lives.
  class Place {
   public:
    explicit Place(PollingBudget& budget) noexcept : budget_(budget) {
      budget_.polling_.fetch_add(1, std::memory_order_relaxed);
    }
    ~Place() { budget_.polling_.fetch_sub(1, std::memory_order_relaxed); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    PollingBudget& budget_;
  };

 private:
  const unsigned threads_;
  std::atomic<unsigned> polling_{0};
};

}  // namespace tiervec

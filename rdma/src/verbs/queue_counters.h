#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include <tiervec/core/process.h>

namespace tiervec::rdma::verbs {

/// A count that one thread raises and any thread may look at.
class Counter {
 public:
  void add(std::uint64_t more) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// What one queue did.
struct QueueCounters {
  Counter reads;        // posted to the device
  Counter doorbells;    // lists they were posted in
  Counter completions;  // entries of the completion queue looked at
  Counter connections;  // that came up
};

/// What all queues of a tier did, those that are gone included.
class CounterLedger {
 public:
  struct Totals {
    std::uint64_t reads = 0;
    std::uint64_t doorbells = 0;
    std::uint64_t completions = 0;
    std::uint64_t connections = 0;
  };

  /// Zeros in a forked child, whose queues are the parent's.
  [[nodiscard]] Totals totals() const {
    if (!origin_.here()) {
      return {};
    }
    const std::lock_guard lock(mutex_);
    Totals sum = gone_;
    for (const QueueCounters* counters : queues_) {
      add(sum, *counters);
    }
    return sum;
  }

 private:
  friend class LedgerEntry;

  static void add(Totals& sum, const QueueCounters& counters) noexcept {
    sum.reads += counters.reads.value();
    sum.doorbells += counters.doorbells.value();
    sum.completions += counters.completions.value();
    sum.connections += counters.connections.value();
  }

  const Origin origin_;
  mutable std::mutex mutex_;
  std::vector<const QueueCounters*> queues_;
  Totals gone_;
};

/// The counters of a queue, in the ledger of its tier, which outlives it.
class LedgerEntry {
 public:
  explicit LedgerEntry(CounterLedger& ledger) : ledger_(ledger) {
    const std::lock_guard lock(ledger_.mutex_);
    ledger_.queues_.push_back(&counters_);
  }
  LedgerEntry(const LedgerEntry&) = delete;
  LedgerEntry& operator=(const LedgerEntry&) = delete;
  ~LedgerEntry() {
    if (!origin_.here()) {
      return;  // in a forked child a thread that is not there may hold the lock
    }
    const std::lock_guard lock(ledger_.mutex_);
    std::erase(ledger_.queues_, &counters_);
    CounterLedger::add(ledger_.gone_, counters_);
  }

  QueueCounters* operator->() noexcept { return &counters_; }

 private:
  const Origin origin_;
  CounterLedger& ledger_;
  QueueCounters counters_;
};

}  // namespace tiervec::rdma::verbs

#pragma once

// A search that workers of a pool answer while its caller does something else.

#include <chrono>

#include <tiervec/core/process.h>
#include <tiervec/engine/request_queue.h>

namespace tiervec::engine {

/// Whoever holds it also holds what the search uses: the index, the queries, and the room for the answers. Its end
/// cancels what still runs and waits for it; in a forked child it does nothing, since the search is the parent's.
class PendingSearch {
 public:
  PendingSearch() = default;
  virtual ~PendingSearch() = default;
  PendingSearch(const PendingSearch&) = delete;
  PendingSearch& operator=(const PendingSearch&) = delete;

  /// It soon is complete, with kCancelled. From any thread.
  virtual void cancel() noexcept = 0;
  /// To be called once its deadline is over, where nobody waits for it.
  virtual void expire() noexcept = 0;
  /// Waits until it is complete, for so long at most. True: it is.
  virtual bool wait_for(std::chrono::nanoseconds limit) noexcept = 0;
  /// Waits until it is complete; returns what time its workers took. Throws the first query's error.
  virtual WorkerTime finish() = 0;

  /// False in a process that was forked since.
  [[nodiscard]] bool here() const noexcept { return origin_.here(); }

 private:
  Origin origin_;
};

}  // namespace tiervec::engine

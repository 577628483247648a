#pragma once

// Lone queries of many callers on their way to the workers of a pool, and back.
//
//   caller:   push -> wait ......................................... -> woken by complete()
//                      `- remove: cancelled or late before a worker took it
//   worker:   wait_for_request -> pop -> runs it beside others -> complete
//
// Guarantees:
// - First come, first served; at most `limit` wait. No allocation.
// - A request that was pushed is completed exactly once, or removed by its caller; it is not touched afterwards.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include <tiervec/core/status.h>
#include <tiervec/engine/worker.h>

namespace tiervec::engine {

/// What the workers of one search share.
struct SearchState {
  std::atomic<std::uint32_t> next{0};            // query to start
  std::atomic<ErrorCode> error{ErrorCode::kOk};  // the first that a query met; no query starts after it

  void fail(ErrorCode why) noexcept {
    ErrorCode none = ErrorCode::kOk;
    error.compare_exchange_strong(none, why);
  }
};

/// What all workers of a search took, in microseconds.
struct WorkerTime {
  unsigned threads = 0;
  unsigned threads_refused = 0;  // that the system did not give
  double cpu_us = 0;             // CPU time
  double waiting_us = 0;         // in which no query could go on: the worker asked the tier for reads, and took them in
};

/// CPU time of this thread.
double thread_cpu_us() noexcept;

class RequestQueue;

/// A lone query that waits for a worker, and its caller, whose stack it lies on.
class PoolRequest {
 public:
  PoolRequest(SearchState& its_state, const CancelToken* its_token, Ticks its_deadline)
      : state(its_state), cancel(its_token), deadline(its_deadline) {}
  PoolRequest(const PoolRequest&) = delete;
  PoolRequest& operator=(const PoolRequest&) = delete;

  SearchState& state;
  const CancelToken* const cancel;
  const Ticks deadline;
  // Set by the pool.
  Task<void> (*begin)(const void* search, void* context) = nullptr;
  const void* search = nullptr;
  std::uint32_t in_flight = 1;
  WorkerTime time;

  /// Wakes the caller, who may be gone when this returns.
  void complete() noexcept;

 private:
  friend class RequestQueue;

  PoolRequest* next_ = nullptr;
  std::mutex mutex_;
  std::condition_variable completed_;
  bool is_complete_ = false;
};

class RequestQueue {
 public:
  explicit RequestQueue(std::uint32_t limit) : limit_(limit) {}
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  /// Wakes a worker. False: the queue is full, and the request is not in it.
  [[nodiscard]] bool push(PoolRequest& request) noexcept;
  /// Waits until a pushed request is complete. One that is cancelled or late before a worker took it fails here.
  void wait(PoolRequest& request) noexcept;

  /// For workers. Null: none waits; that costs a load.
  [[nodiscard]] PoolRequest* pop() noexcept;
  /// Sleeps while none waits. False: it is time to end.
  [[nodiscard]] bool wait_for_request() noexcept;
  void stop() noexcept;

  [[nodiscard]] std::uint32_t waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }
  /// Workers that sleep.
  [[nodiscard]] std::uint32_t sleeping() const noexcept { return sleeping_.load(std::memory_order_relaxed); }

 private:
  [[nodiscard]] bool remove(PoolRequest& request) noexcept;

  const std::uint32_t limit_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  PoolRequest* first_ = nullptr;
  PoolRequest* last_ = nullptr;
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<std::uint32_t> sleeping_{0};
  bool stopped_ = false;
};

}  // namespace tiervec::engine

#pragma once

// Searches of many callers on their way to the workers of a pool, and back.
//
//   caller:   push -> wait, or go on with something else ................... -> told by the end of the last query
//                      `- drop: cancelled or late before workers took all of its queries
//   worker:   wait_for_request -> take (some queries of the request whose turn it is) -> runs them beside others -> end
//
// Guarantees:
// - Requests take turns, in the order in which they came: a request of one query waits for one turn of each other one.
// - At most `limit` requests wait. No allocation.
// - Every query of a request that was pushed is ended exactly once, by a worker or by drop. The end of the last one
//   completes the request, which is not touched afterwards.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/cancel_token.h>
#include <tiervec/engine/task.h>

namespace tiervec::engine {

/// What the workers of one search share.
struct SearchState {
  std::atomic<std::uint32_t> next{0};            // query to start
  std::atomic<ErrorCode> error{ErrorCode::kOk};  // the first that a query met; no query starts after it

  void fail(ErrorCode why) noexcept {
    ErrorCode none = ErrorCode::kOk;
    error.compare_exchange_strong(none, why);
  }
  [[nodiscard]] bool has_failed() const noexcept { return error.load(std::memory_order_relaxed) != ErrorCode::kOk; }
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

/// Hears of searches that are complete, on the thread that ended them.
class SearchListener {
 public:
  SearchListener() = default;
  virtual ~SearchListener() = default;
  SearchListener(const SearchListener&) = delete;
  SearchListener& operator=(const SearchListener&) = delete;
  virtual void search_ended(std::uint64_t ticket) noexcept = 0;
};

class RequestQueue;

/// The queries of one search while workers answer them. It stays where it is until it is complete.
class PoolRequest final : CancelToken::Watcher {
 public:
  PoolRequest(RequestQueue& queue, SearchState& its_state, std::uint32_t queries, const CancelToken* token,
              Ticks its_deadline)
      : state(its_state), count(queries), deadline(its_deadline), queue_(queue), outer_(token), left_(queries) {}
  /// Requires that it is complete, or was never pushed.
  ~PoolRequest() override {
    if (is_watching_) outer_->unwatch(*this);
  }
  PoolRequest(const PoolRequest&) = delete;
  PoolRequest& operator=(const PoolRequest&) = delete;

  SearchState& state;
  const std::uint32_t count;
  const Ticks deadline;
  // Set before it is pushed.
  Task<void> (*begin)(const void* search, void* context, std::uint32_t index) = nullptr;
  const void* search = nullptr;
  std::uint32_t in_flight = 1;               // queries on a worker, of all requests
  bool one_by_one = false;                   // its queries run one after another
  std::shared_ptr<SearchListener> listener;  // null: somebody waits
  std::uint64_t ticket = 0;                  // for the listener

  /// Stops its queries: those that no worker has taken at once, the others with their next read.
  void cancel() noexcept;
  /// Ends those that no worker has taken: the deadline is over. The others see it by themselves.
  void expire() noexcept;
  /// Waits until it is complete, and expires it at its deadline.
  void wait() noexcept;
  /// The same for so long at most; true: it is complete.
  bool wait_for(std::chrono::nanoseconds limit) noexcept;

  /// For workers: stops the queries that run.
  [[nodiscard]] const CancelToken& token() const noexcept { return token_; }
  /// For workers: adds what a query cost.
  void add(double cpu_us, double waiting_us) noexcept {
    cpu_us_.fetch_add(cpu_us, std::memory_order_relaxed);
    waiting_us_.fetch_add(waiting_us, std::memory_order_relaxed);
  }
  /// Requires that it is complete.
  [[nodiscard]] WorkerTime time() const noexcept;

 private:
  friend class RequestQueue;
  static constexpr std::uint32_t kMaxCounted = 1024;  // workers that are told apart

  void cancelled() noexcept override { cancel(); }
  void watch();
  void complete() noexcept;

  RequestQueue& queue_;
  const CancelToken* const outer_;  // the caller's
  CancelToken token_;               // of its queries
  bool is_watching_ = false;
  std::atomic<std::uint32_t> left_;  // queries that have not ended
  std::atomic<double> cpu_us_{0};
  std::atomic<double> waiting_us_{0};
  // Guarded by the queue's lock.
  PoolRequest* next_ = nullptr;
  PoolRequest* previous_ = nullptr;
  bool is_queued_ = false;
  std::uint32_t taken_ = 0;  // queries, in order
  std::array<std::uint64_t, kMaxCounted / 64> workers_{};

  std::mutex mutex_;
  std::condition_variable completed_;
  bool is_complete_ = false;
};

class RequestQueue {
 public:
  explicit RequestQueue(std::uint32_t limit) : limit_(limit) {}
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  /// Some queries of a request, in a row.
  struct Turn {
    PoolRequest* request = nullptr;
    std::uint32_t next = 0;
    std::uint32_t end = 0;
  };

  /// Wakes workers. False: the queue is full, and the request is not in it.
  [[nodiscard]] bool push(PoolRequest& request);

  /// For workers, of which each has a number. Without a request: none waits; that costs a load.
  [[nodiscard]] Turn take(std::uint32_t worker) noexcept;
  /// So many queries that were taken have ended; may complete the request.
  void end(PoolRequest& request, std::uint32_t queries) noexcept;
  /// Sleeps while none waits. False: it is time to leave.
  [[nodiscard]] bool wait_for_request() noexcept;
  void stop() noexcept;

  /// Requests with queries that no worker has taken.
  [[nodiscard]] std::uint32_t waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }
  /// Workers that sleep.
  [[nodiscard]] std::uint32_t sleeping() const noexcept { return sleeping_.load(std::memory_order_relaxed); }

 private:
  friend class PoolRequest;

  void drop(PoolRequest& request, ErrorCode why) noexcept;
  void append(PoolRequest& request) noexcept;
  void unlink(PoolRequest& request) noexcept;

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

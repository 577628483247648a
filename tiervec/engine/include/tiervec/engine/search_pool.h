#pragma once

// Workers that stay: they run the lone queries of all callers together, many in flight on each thread.
//
//   caller   ready (a worker more, while all are busy) -> RequestQueue -> sleeps -> woken when its own query is done
//   worker   sleeps -> Worker::serve: starts requests while there is room, runs them side by side -> sleeps
//
// Guarantees:
// - A query ends by itself, whatever runs beside it: with its result, its error, its own token or deadline.
// - No more workers than a call may have threads; each has one Context, so one queue of the tier. They are made when
//   they are first needed, sleep while nothing waits, and end with the pool.
// - Neither allocation nor lock on the path of a read; a query takes a lock when a worker takes it and when it is done.
// - What a query cost is its share of its worker's time: of every moment as much as of each query that ran in it.
//
// A pool belongs to its process. In a forked child it must not be destroyed: threads of the parent sleep on it.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/core/status.h>
#include <tiervec/core/thread.h>
#include <tiervec/engine/request_queue.h>
#include <tiervec/engine/worker.h>

namespace tiervec::engine {

inline constexpr std::uint32_t kMaxWaiting = 4096;  // lone queries that no worker has taken

template <class Context>
class SearchPool {
 public:
  explicit SearchPool(std::uint32_t max_waiting) : max_waiting_(max_waiting), queue_(max_waiting) {}
  ~SearchPool() { queue_.stop(); }  // and the threads are joined
  SearchPool(const SearchPool&) = delete;
  SearchPool& operator=(const SearchPool&) = delete;

  /// Starts a worker when none sleeps and there are fewer than `most`. False: there is no worker, and the system gives
  /// no thread for one. Throws what make() throws for the first.
  template <class Make>
  [[nodiscard]] bool ready(unsigned most, const Make& make) {
    if (queue_.sleeping() > 0) return true;
    if (count_.load(std::memory_order_acquire) >= most) return true;
    std::unique_lock lock(mutex_, std::defer_lock);
    if (count_.load(std::memory_order_acquire) == 0) {
      lock.lock();
    } else if (!lock.try_lock()) {
      return true;  // another caller is starting one; those that there are take the query
    }
    if (count_.load(std::memory_order_relaxed) >= most) return true;
    const bool is_first = count_.load(std::memory_order_relaxed) == 0;
    std::unique_ptr<Context> context;
    try {
      context = make();
    } catch (const Error&) {
      if (is_first) throw;
      return true;
    }
    try {
      add_worker(std::move(context));
    } catch (const Error&) {
      return !is_first;
    }
    return true;
  }

  /// Runs begin(context) -> Task<void> on a worker that runs fewer than `in_flight` others, and waits for its end.
  /// Returns what it cost. Throws kResourceExhausted when the queue is full. Requires ready().
  template <class Begin>
  WorkerTime run(PoolRequest& request, const Begin& begin, std::uint32_t in_flight) {
    request.begin = [](const void* search, void* context) {
      return (*static_cast<const Begin*>(search))(*static_cast<Context*>(context));
    };
    request.search = &begin;
    request.in_flight = in_flight;
    if (!queue_.push(request)) {
      throw Error(ErrorCode::kResourceExhausted, std::to_string(max_waiting_) +
                                                     " searches wait for a worker of this index; try again later, or "
                                                     "send several queries in one call");
    }
    queue_.wait(request);
    return request.time;
  }

  [[nodiscard]] std::size_t workers() const noexcept { return count_.load(std::memory_order_acquire); }

 private:
  struct PoolWorker {
    explicit PoolWorker(std::unique_ptr<Context> given) : context(std::move(given)) {}

    /// Adds the time since the last look to the share of every query that runs.
    void look() noexcept {
      const double cpu_us = thread_cpu_us();
      const Ticks idle = context->worker.counters().idle_ticks;
      if (const std::uint32_t running = context->worker.running(); running > 0) {
        share_cpu_us += (cpu_us - seen_cpu_us) / running;
        share_idle_ticks += static_cast<double>(idle - seen_idle_ticks) / running;
      }
      seen_cpu_us = cpu_us;
      seen_idle_ticks = idle;
    }

    std::unique_ptr<Context> context;
    double share_cpu_us = 0;  // of a query that runs from the start of the worker on
    double share_idle_ticks = 0;
    double seen_cpu_us = 0;
    Ticks seen_idle_ticks = 0;
    Thread thread;  // ends before what it uses
  };

  /// Completes a request at the end of its query, also when a worker drops it.
  class Completion {
   public:
    Completion(PoolWorker& worker, PoolRequest& request) noexcept
        : worker_(worker), request_(request), cpu_us_(worker.share_cpu_us), idle_ticks_(worker.share_idle_ticks) {}
    ~Completion() {
      if (!is_done_) request_.state.fail(ErrorCode::kInternal);
      worker_.look();
      request_.time = {.threads = 1,
                       .cpu_us = worker_.share_cpu_us - cpu_us_,
                       .waiting_us = (worker_.share_idle_ticks - idle_ticks_) / TickClock::ticks_per_ns() * 1e-3};
      request_.complete();
    }
    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;
    void set_done() noexcept { is_done_ = true; }

   private:
    PoolWorker& worker_;
    PoolRequest& request_;
    const double cpu_us_;
    const double idle_ticks_;
    bool is_done_ = false;
  };

  void add_worker(std::unique_ptr<Context> context) {
    auto worker = std::make_unique<PoolWorker>(std::move(context));
    workers_.reserve(workers_.size() + 1);
    worker->thread = Thread("a search", [this, self = worker.get()] { work(*self); });
    workers_.push_back(std::move(worker));
    count_.fetch_add(1, std::memory_order_release);
  }

  void work(PoolWorker& self) noexcept {
    while (queue_.wait_for_request()) {
      self.look();
      try {
        self.context->worker.serve([&]() -> Query { return next(self); });
      } catch (...) {
        // A query that waited for something that nobody ends: it was dropped, and its request completed.
      }
    }
  }

  [[nodiscard]] Query next(PoolWorker& self) {
    if (queue_.waiting() == 0 || self.context->worker.running() >= in_flight_.load(std::memory_order_relaxed)) {
      return {};
    }
    PoolRequest* const request = queue_.pop();
    if (request == nullptr) return {};
    in_flight_.store(request->in_flight, std::memory_order_relaxed);
    self.look();
    try {
      return {answer(self, *request), request->deadline, request->cancel};
    } catch (...) {
      request->state.fail(ErrorCode::kResourceExhausted);
      request->complete();
      return {};
    }
  }

  static Task<void> answer(PoolWorker& self, PoolRequest& request) {
    Completion completion(self, request);
    try {
      co_await request.begin(request.search, self.context.get());
    } catch (...) {
      request.state.fail(ErrorCode::kInternal);
    }
    completion.set_done();
  }

  const std::uint32_t max_waiting_;
  RequestQueue queue_;
  std::atomic<std::uint32_t> in_flight_{1};  // most queries on a worker, as the last request has it
  std::mutex mutex_;                         // of workers_
  std::atomic<std::size_t> count_{0};
  std::vector<std::unique_ptr<PoolWorker>> workers_;  // last: their threads end first
};

}  // namespace tiervec::engine

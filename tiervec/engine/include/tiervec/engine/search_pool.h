#pragma once

// Workers that stay: they run the queries of all callers together, many in flight on each thread.
//
//   caller   ready (workers more, while all are busy) -> RequestQueue -> sleeps, or does something else
//   worker   sleeps -> Worker::serve: takes queries in turns while there is room, runs them side by side -> sleeps
//
// Guarantees:
// - A query ends by itself, whatever runs beside it: with its result, its error, its own token or deadline.
// - No more workers than a call may have threads; each has one Context, so one queue of the tier. They are made when
//   they are first needed, sleep while nothing waits, and end with the pool.
// - Neither allocation nor lock on the path of a read; a lock when a worker takes queries, and when a request is done.
// - What a query cost is its share of its worker's time: of every moment as much as of each query that ran in it.
//
// A pool belongs to its process. In a forked child it must not be destroyed: threads of the parent sleep on it.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <tiervec/core/status.h>
#include <tiervec/core/thread.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/request_queue.h>
#include <tiervec/engine/worker.h>

namespace tiervec::engine {

inline constexpr std::uint32_t kMaxWaiting = 4096;  // requests of which no worker has taken all queries

template <class Context>
class SearchPool {
 public:
  explicit SearchPool(std::uint32_t max_waiting) : max_waiting_(max_waiting), queue_(max_waiting) {}
  ~SearchPool() { queue_.stop(); }  // and the threads are joined
  SearchPool(const SearchPool&) = delete;
  SearchPool& operator=(const SearchPool&) = delete;

  /// Starts workers for so many `queries` more than those that sleep, and at most `most` in all. Returns how many there
  /// are; 0: the system gives no thread for any. Throws what make() throws for the first.
  template <class Make>
  [[nodiscard]] unsigned ready(unsigned most, std::uint32_t queries, const Make& make) {
    const auto has_enough = [&] { return queue_.sleeping() >= std::min(most, queries) || workers() >= most; };
    if (has_enough()) return std::max(1U, workers());  // the first sleeps before it is counted
    std::unique_lock lock(mutex_, std::defer_lock);
    if (workers() == 0) {
      lock.lock();
    } else if (!lock.try_lock()) {
      return workers();  // another caller is starting some; those that there are take the queries
    }
    const unsigned asleep = queue_.sleeping();
    for (std::uint32_t i = asleep; i < queries && workers() < most; ++i) {
      if (!add_worker(make)) break;
    }
    return workers();
  }

  [[nodiscard]] RequestQueue& queue() noexcept { return queue_; }

  /// Runs request.begin(request.search, context, index) -> Task<void> for each query, on workers that run fewer than
  /// request.in_flight others. Throws kResourceExhausted when the queue is full. Requires ready().
  void push(PoolRequest& request) {
    if (queue_.push(request)) return;
    throw Error(ErrorCode::kResourceExhausted, std::to_string(max_waiting_) +
                                                   " searches wait for a worker of this index; try again later, or "
                                                   "send several queries in one call");
  }

  [[nodiscard]] unsigned workers() const noexcept { return count_.load(std::memory_order_acquire); }

 private:
  struct PoolWorker {
    PoolWorker(std::unique_ptr<Context> given, std::uint32_t its_number)
        : context(std::move(given)), number(its_number) {}

    /// Time passes from here on: it slept.
    void wake() noexcept {
      seen = measured_at = TickClock::now();
      measured_cpu_us = thread_cpu_us();
      seen_idle_ticks = context->worker.counters().idle_ticks;
    }

    /// Adds the time since the last look to the share of every query that runs. CPU time is elapsed time but for what
    /// other threads took, which is measured now and then: the thread's clock costs a system call.
    void look() noexcept {
      const Ticks now = TickClock::now();
      const double us_per_tick = 1e-3 / TickClock::ticks_per_ns();
      if (const double passed_us = static_cast<double>(now - measured_at) * us_per_tick; passed_us >= kMeasureUs) {
        const double cpu_us = thread_cpu_us();
        cpu_share = std::clamp((cpu_us - measured_cpu_us) / passed_us, 0.0, 1.0);
        measured_cpu_us = cpu_us;
        measured_at = now;
      }
      const Ticks idle = context->worker.counters().idle_ticks;
      if (const std::uint32_t running = context->worker.running(); running > 0) {
        share_cpu_us += static_cast<double>(now - seen) * us_per_tick * cpu_share / running;
        share_idle_us += static_cast<double>(idle - seen_idle_ticks) * us_per_tick / running;
      }
      seen = now;
      seen_idle_ticks = idle;
    }

    static constexpr double kMeasureUs = 50;

    std::unique_ptr<Context> context;
    const std::uint32_t number;
    RequestQueue::Turn turn;  // queries that it took and has not started
    double share_cpu_us = 0;  // of a query that runs from the start of the worker on
    double share_idle_us = 0;
    double cpu_share = 1;  // CPU time of elapsed time
    double measured_cpu_us = 0;
    Ticks measured_at = 0;
    Ticks seen = 0;
    Ticks seen_idle_ticks = 0;
    Thread thread;  // ends before what it uses
  };

  /// Ends a query of a request, also when a worker drops it.
  class Completion {
   public:
    Completion(SearchPool& pool, PoolWorker& worker, PoolRequest& request) noexcept
        : pool_(pool),
          worker_(worker),
          request_(request),
          cpu_us_(worker.share_cpu_us),
          idle_us_(worker.share_idle_us) {}
    ~Completion() {
      if (!is_done_) request_.state.fail(ErrorCode::kInternal);
      worker_.look();
      request_.add(worker_.share_cpu_us - cpu_us_, worker_.share_idle_us - idle_us_);
      pool_.queue_.end(request_, 1);
    }
    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;
    void set_done() noexcept { is_done_ = true; }

   private:
    SearchPool& pool_;
    PoolWorker& worker_;
    PoolRequest& request_;
    const double cpu_us_;
    const double idle_us_;
    bool is_done_ = false;
  };

  /// False: the system gives no thread or no memory for one. Under the lock.
  template <class Make>
  bool add_worker(const Make& make) {
    const unsigned number = workers();
    std::unique_ptr<Context> context;
    try {
      context = make();
    } catch (const Error&) {
      if (number == 0) throw;
      return false;
    }
    try {
      auto worker = std::make_unique<PoolWorker>(std::move(context), number);
      workers_.reserve(workers_.size() + 1);
      worker->thread = Thread("a search", [this, self = worker.get()] { work(*self); });
      workers_.push_back(std::move(worker));
    } catch (const Error&) {
      return false;
    }
    count_.fetch_add(1, std::memory_order_release);
    return true;
  }

  void work(PoolWorker& self) noexcept {
    while (self.turn.request != nullptr || queue_.wait_for_request()) {
      self.wake();
      try {
        self.context->worker.serve([&]() -> Query { return next(self); });
      } catch (...) {
        // The tier's queue lost a batch: the queries were dropped, and so ended.
      }
    }
  }

  [[nodiscard]] Query next(PoolWorker& self) {
    RequestQueue::Turn& turn = self.turn;
    for (;;) {
      if (turn.request == nullptr && queue_.waiting() == 0) return {};
      if (self.context->worker.running() >= in_flight_.load(std::memory_order_relaxed)) return {};
      if (turn.request == nullptr) turn = queue_.take(self.number);
      if (turn.request == nullptr) return {};
      PoolRequest& request = *turn.request;
      if (request.state.has_failed()) {
        queue_.end(request, turn.end - turn.next);
        turn = {};
        continue;
      }
      const std::uint32_t index = turn.next++;
      if (turn.next == turn.end) turn = {};
      in_flight_.store(request.in_flight, std::memory_order_relaxed);
      self.look();
      try {
        return {answer(*this, self, request, index), request.deadline, &request.token()};
      } catch (...) {
        request.state.fail(ErrorCode::kResourceExhausted);
        queue_.end(request, 1);
      }
    }
  }

  static Task<void> answer(SearchPool& pool, PoolWorker& self, PoolRequest& request, std::uint32_t index) {
    Completion completion(pool, self, request);
    try {
      co_await request.begin(request.search, self.context.get(), index);
    } catch (...) {
      request.state.fail(ErrorCode::kInternal);
    }
    completion.set_done();
  }

  const std::uint32_t max_waiting_;
  RequestQueue queue_;
  std::atomic<std::uint32_t> in_flight_{1};  // most queries on a worker, as the last request has it
  std::mutex mutex_;                         // of workers_
  std::atomic<unsigned> count_{0};
  std::vector<std::unique_ptr<PoolWorker>> workers_;  // last: their threads end first
};

}  // namespace tiervec::engine

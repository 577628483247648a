#pragma once

// A worker thread's scheduler: runs many queries on one TierQueue.
//
//   loop turn:   poll -> admit batches that waited for room -> flush -> stop what is cancelled or late
//                -> start queries -> run every query that was ready when the turn began, once each; none: wait
//
//   life of a query:   started --> ready <--> running --> finished
//                                    ^           | co_await read(batch)
//                                    `-- poll <--' (waits its turn first, in order, when the queue is full)
//
// Guarantees:
// - At most `in_flight` queries run at once, and a query waits for at most one round, of a batch or several, which are
//   submitted together: that bounds everything in flight.
// - Every round handed to read() comes back to its query exactly once: with kOk, with the tier's error, with
//   kCancelled (token), kDeadlineExceeded (the query's deadline), or kResourceExhausted (it can never fit the queue).
// - run() returns or throws only when no query runs and no batch is in flight, also after a cancel or an exception.
// - A token (of the run or of a query) or a deadline is seen a turn later, at most a millisecond where the queue
// sleeps.
// - Queries that are ready run in order, one step a turn each; a turn polls and flushes once. Nobody starves.
// - After a stop every further read() of the query fails at once without reaching the queue, so a query that passes
//   errors on ends at its next read. One that computes without reading should look at stopped().
// - Steady state: no allocation, no lock, no atomics but one relaxed load a turn (the token).
//
// One thread. The queue belongs to this worker while run() runs. Queries may suspend only in this worker's awaitables.

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <tiervec/core/polling_budget.h>
#include <tiervec/core/status.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/engine/cancel_token.h>
#include <tiervec/engine/fixed_ring.h>
#include <tiervec/engine/task.h>
#include <tiervec/rdma/load_store_target.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::engine {

/// A unit of work: a task, the moment after which its reads fail, and a token that stops it alone. The token must live
/// until the task has finished.
struct Query {
  Task<void> task;
  Ticks deadline = kNever;
  const CancelToken* cancel = nullptr;
};

/// What a worker did since it was made.
struct WorkerCounters {
  std::uint64_t turns = 0;
  std::uint64_t batches = 0;  // that went through the queue; loads from a load/store tier are not counted
  std::uint64_t flushes = 0;
  std::uint64_t sleeps = 0;  // beside those in the queue's own wait
  Ticks idle_ticks = 0;      // while no query could run and only the tier's answer was awaited
};

class Worker {
 public:
  /// `budget` says when polling is too much for the CPU quota; it outlives the worker.
  Worker(rdma::TierQueue& queue, std::uint32_t in_flight, PollingBudget& budget = PollingBudget::of_process(),
         TimeSource time = {});
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  class ReadAwaiter;
  class YieldAwaiter;

  /// Lets at most so many queries run at once, of those that there is room for; to be called between runs.
  void limit_in_flight(std::uint32_t in_flight) noexcept;

  /// Runs queries until `next_query` has none left and all have finished. `next_query()` returns a Query or a
  /// Task<void>; an empty one means "no more" and it is not asked again. Once the token is set, no query is started
  /// any more. Throws what a query or next_query threw first, after the other queries were cancelled and finished.
  template <class NextQuery>
  void run(NextQuery&& next_query, const CancelToken* token = nullptr) {
    run_all(next_query, token, false);
  }
  /// The same for queries that come while others run: an empty one means "none now", and `next_query` is asked again
  /// in each turn that has room for a query. Returns once no query runs and `next_query` has none. A query that throws,
  /// or waits for something that its worker does not know, ends alone: it has to say so itself, by its end.
  template <class NextQuery>
  void serve(NextQuery&& next_query) {
    run_all(next_query, nullptr, true);
  }

  // For the coroutines of the queries that run here.

  /// `ErrorCode e = co_await worker.read(batch)`: one round. Views are valid on kOk, until release(batch).
  [[nodiscard]] ReadAwaiter read(rdma::ReadBatch& batch) noexcept;
  /// The same for several batches, at least one: they go out together, and all come back. With another error than kOk
  /// none holds views.
  [[nodiscard]] ReadAwaiter read(std::span<rdma::ReadBatch> batches) noexcept;
  /// `co_await worker.yield()`: lets the other ready queries run first, for example until a prefetch has landed.
  [[nodiscard]] YieldAwaiter yield() noexcept;
  /// Gives the views of a batch back. Due before the query reads again: a queue may be full of views.
  void release(rdma::ReadBatch& batch) noexcept {
    if (target_ == nullptr && batch.error == ErrorCode::kOk) {
      queue_.release(batch);
    }
  }
  /// Why the running query has to stop: kOk, kCancelled or kDeadlineExceeded.
  [[nodiscard]] ErrorCode stopped() const noexcept { return current_->stop; }

  [[nodiscard]] std::uint32_t running() const noexcept { return running_; }
  [[nodiscard]] const WorkerCounters& counters() const noexcept { return counters_; }

 private:
  struct Slot {
    std::coroutine_handle<> resume;   // where the query goes on: the innermost coroutine
    Slot* next = nullptr;             // in the ready list
    std::uint32_t reads_allowed = 0;  // per batch: kMaxReads, or 0 once the query has to stop
    bool submitted = false;           // `batches` are in the queue; else they wait for room
    ErrorCode stop = ErrorCode::kOk;
    std::span<rdma::ReadBatch> batches;  // what it waits for
    std::uint32_t awaited = 0;           // of them, that have not come back
    std::uint32_t reads = 0;             // of them all
    Task<void>::Handle root;             // its outermost coroutine, to see the end
    Ticks deadline = kNever;
    const CancelToken* cancel = nullptr;  // of this query alone
    Task<void> task;
  };

  template <class NextQuery>
  void run_all(NextQuery& next_query, const CancelToken* token, bool asks_again);
  void begin_run();
  template <class NextQuery>
  void start_queries(NextQuery& next_query);
  void start(Query query);
  void finish(Slot& slot) noexcept;
  void collect() noexcept;
  void check_stops(const CancelToken* token) noexcept;
  void run_ready() noexcept;
  void wait_for_tier();
  void admit_waiting() noexcept;
  void expire(Ticks now) noexcept;
  void stop_cancelled() noexcept;
  void stop_all(ErrorCode why) noexcept;
  void stop(Slot& slot, ErrorCode why) noexcept;
  void fail_waiting(Slot& slot, ErrorCode why) noexcept;
  void fail_run(std::exception_ptr error) noexcept;
  void drop_all() noexcept;
  void drop_foreign(Slot& slot) noexcept;
  void leave(Slot& slot) noexcept;
  void end_idle() noexcept;

  // The ready list: current_ (running) -> ... -> end_of_turn_ -> ... -> last_ready_; between turns the marker
  // end_of_turn_ is its head. Who suspends in it passes control straight to its successor, without a return to the loop
  // and a call. The marker's "coroutine" does nothing, so there control returns to the loop. last_ready_->next means
  // nothing.
  void push_ready(Slot& slot) noexcept {
    last_ready_->next = &slot;
    last_ready_ = &slot;
  }
  [[nodiscard]] std::coroutine_handle<> pass_on() noexcept {
    current_ = current_->next;
    return current_->resume;
  }
  [[nodiscard]] bool none_ready() const noexcept { return last_ready_ == &end_of_turn_; }

  void submit_or_wait(Slot& slot, std::span<rdma::ReadBatch> batches) noexcept {
    slot.batches = batches;
    slot.reads = 0;
    for (const rdma::ReadBatch& batch : batches) slot.reads += batch.count;
    if (waiting_.empty() && queue_.can_submit(slot.reads)) [[likely]] {
      submit(slot);
    } else {
      slot.submitted = false;
      waiting_.push(&slot);
    }
  }

  void submit(Slot& slot) noexcept {
    slot.submitted = true;
    slot.awaited = static_cast<std::uint32_t>(slot.batches.size());
    unflushed_ = true;
    counters_.batches += slot.awaited;
    for (rdma::ReadBatch& batch : slot.batches) {
      batch.error = ErrorCode::kOk;
      batch.owner = &slot;
      queue_.submit(batch);
    }
  }
  [[nodiscard]] ErrorCode end_failed_round(std::span<rdma::ReadBatch> batches) noexcept;

  rdma::TierQueue& queue_;
  PollingBudget& budget_;
  const TimeSource time_;
  const rdma::LoadStoreTarget* const target_;  // null: reads go through the queue
  Slot* current_ = &end_of_turn_;              // the query that runs now, or the marker between turns
  Slot* last_ready_ = &end_of_turn_;
  Slot end_of_turn_;
  FixedRing<Slot*> waiting_;  // for room in the queue, first come first served
  bool unflushed_ = false;
  bool admitting_ = false;     // next_query may have more
  bool asks_again_ = false;    // it may have more after it had none
  std::uint32_t watched_ = 0;  // queries that run with a token of their own
  std::uint64_t seen_cancels_ = 0;
  std::uint32_t running_ = 0;
  std::uint32_t in_flight_;       // most that run
  Ticks next_deadline_ = kNever;  // no deadline of a running query lies before it
  Ticks idle_since_ = kNever;
  std::uint32_t idle_turns_ = 0;
  WorkerCounters counters_;
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  std::vector<rdma::ReadBatch*> done_;
  std::exception_ptr first_error_;
};

class [[nodiscard]] Worker::ReadAwaiter {
 public:
  ReadAwaiter(Worker& worker, std::span<rdma::ReadBatch> batches) noexcept : worker_(worker), batches_(batches) {}

  [[nodiscard]] bool await_ready() const noexcept {
    bool allowed = true;
    for (const rdma::ReadBatch& batch : batches_) {
      allowed &= batch.count - 1 < worker_.current_->reads_allowed;  // false for 0 too: it wraps
    }
    if (allowed) [[likely]] {
      return false;
    }
    const ErrorCode stop = worker_.current_->stop;
    for (rdma::ReadBatch& batch : batches_) batch.error = stop != ErrorCode::kOk ? stop : ErrorCode::kInvalidArgument;
    return true;
  }
  [[gnu::always_inline]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const noexcept {
    Slot& slot = *worker_.current_;
    slot.resume = self;
    if (worker_.target_ != nullptr) {
      for (rdma::ReadBatch& batch : batches_) batch.error = worker_.target_->start(batch);
      worker_.push_ready(slot);
    } else {
      worker_.submit_or_wait(slot, batches_);
    }
    return worker_.pass_on();
  }
  [[nodiscard]] ErrorCode await_resume() const noexcept {
    for (const rdma::ReadBatch& batch : batches_) {
      if (batch.error != ErrorCode::kOk) [[unlikely]] {
        return worker_.end_failed_round(batches_);
      }
    }
    return ErrorCode::kOk;
  }

 private:
  Worker& worker_;
  std::span<rdma::ReadBatch> batches_;
};

class [[nodiscard]] Worker::YieldAwaiter {
 public:
  explicit YieldAwaiter(Worker& worker) noexcept : worker_(worker) {}
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[gnu::always_inline]] std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) const noexcept {
    Slot& slot = *worker_.current_;
    slot.resume = self;
    worker_.push_ready(slot);
    return worker_.pass_on();
  }
  void await_resume() const noexcept {}

 private:
  Worker& worker_;
};

inline Worker::ReadAwaiter Worker::read(rdma::ReadBatch& batch) noexcept {
  return {*this, {&batch, 1}};
}
inline Worker::ReadAwaiter Worker::read(std::span<rdma::ReadBatch> batches) noexcept {
  return {*this, batches};
}
inline Worker::YieldAwaiter Worker::yield() noexcept {
  return YieldAwaiter(*this);
}

template <class NextQuery>
void Worker::run_all(NextQuery& next_query, const CancelToken* token, bool asks_again) {
  begin_run();
  asks_again_ = asks_again;
  const PollingBudget::Place place(budget_);
  for (;;) {
    collect();
    check_stops(token);
    if (admitting_) {
      start_queries(next_query);
    }
    if (running_ == 0) {
      break;
    }
    ++counters_.turns;
    if (none_ready()) {
      wait_for_tier();
    } else {
      run_ready();
    }
  }
  if (first_error_) {
    std::rethrow_exception(std::exchange(first_error_, nullptr));
  }
}

template <class NextQuery>
void Worker::start_queries(NextQuery& next_query) {
  while (running_ < in_flight_) {
    Query query;
    try {
      if constexpr (std::is_same_v<std::invoke_result_t<NextQuery&>, Task<void>>) {
        query.task = next_query();
      } else {
        query = next_query();
      }
    } catch (...) {
      fail_run(std::current_exception());
      return;
    }
    if (!query.task) {
      admitting_ = asks_again_;
      return;
    }
    start(std::move(query));
  }
}

inline void Worker::collect() noexcept {
  if (target_ != nullptr) {
    return;
  }
  const std::size_t count = queue_.poll(done_);
  for (std::size_t i = 0; i < count; ++i) {
    rdma::ReadBatch& batch = *done_[i];
    Slot& slot = *static_cast<Slot*>(std::exchange(batch.owner, nullptr));
    if (slot.stop != ErrorCode::kOk && batch.error == ErrorCode::kCancelled) [[unlikely]] {
      batch.error = slot.stop;
    }
    if (--slot.awaited == 0) {
      slot.batches = {};
      push_ready(slot);
    }
  }
  if (!waiting_.empty()) [[unlikely]] {
    admit_waiting();
  }
  if (unflushed_) {
    unflushed_ = false;
    ++counters_.flushes;
    queue_.flush();
  }
}

inline void Worker::check_stops(const CancelToken* token) noexcept {
  if (token != nullptr && token->cancelled()) [[unlikely]] {
    stop_all(ErrorCode::kCancelled);
  }
  if (watched_ > 0) {
    if (const std::uint64_t cancels = CancelToken::cancels(); cancels != seen_cancels_) [[unlikely]] {
      seen_cancels_ = cancels;
      stop_cancelled();
    }
  }
  if (next_deadline_ != kNever) [[unlikely]] {
    if (const Ticks now = time_.now(); now >= next_deadline_) {
      expire(now);
    }
  }
}

inline void Worker::run_ready() noexcept {
  if (idle_since_ != kNever) [[unlikely]] {
    end_idle();
  }
  // The marker goes behind all that are ready now. What becomes ready meanwhile runs in the next turn: the tier is
  // polled in between.
  current_ = end_of_turn_.next;
  push_ready(end_of_turn_);
  while (current_ != &end_of_turn_) {
    current_->resume.resume();  // comes back when the turn is over or a query has finished
    if (current_ != &end_of_turn_) {
      Slot& slot = *current_;
      current_ = slot.next;
      if (slot.root.done()) [[likely]] {
        finish(slot);
      } else {
        drop_foreign(slot);
      }
    }
  }
}

}  // namespace tiervec::engine

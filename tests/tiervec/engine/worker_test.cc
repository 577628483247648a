#include <tiervec/engine/worker.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "rdma/allocation_counter.h"
#include "rdma/scripted_queue.h"

namespace tiervec::engine {
namespace {

using namespace std::chrono_literals;
using rdma::testing::allocation_count;
using rdma::testing::ScriptedQueue;

/// What the queries of a test share and leave behind.
struct Trace {
  std::vector<ErrorCode> results;
  std::vector<int> order;
  std::uint32_t running = 0;
  std::uint32_t most_running = 0;
};

/// Completes its only batch once the worker that polls it has slept three times.
class SleepyQueue final : public rdma::TierQueue {
 public:
  const Worker* worker = nullptr;

  [[nodiscard]] bool can_submit(std::uint32_t) const noexcept override { return batch_ == nullptr; }
  void submit(rdma::ReadBatch& batch) noexcept override { batch_ = &batch; }
  void flush() noexcept override {}
  std::size_t poll(std::span<rdma::ReadBatch*> done) noexcept override {
    if (batch_ == nullptr || worker->counters().sleeps < 3) return 0;
    done[0] = std::exchange(batch_, nullptr);
    return 1;
  }
  void release(rdma::ReadBatch&) noexcept override {}
  void cancel(rdma::ReadBatch&) noexcept override {}
  [[nodiscard]] std::size_t in_flight() const noexcept override { return batch_ == nullptr ? 0 : 1; }

 private:
  rdma::ReadBatch* batch_ = nullptr;
};

void fill(rdma::ReadBatch& batch, std::uint64_t offset, std::uint32_t count = 1) {
  batch.count = count;
  for (std::uint32_t i = 0; i < count && i < rdma::ReadBatch::kMaxReads; ++i) {
    batch.reads[i] = {offset, 64};
  }
}

Task<void> read_times(Worker& worker, Trace& trace, int id, int times, std::uint32_t count = 1) {
  trace.most_running = std::max(trace.most_running, ++trace.running);
  rdma::ReadBatch batch;
  for (int i = 0; i < times; ++i) {
    fill(batch, static_cast<std::uint64_t>(id), count);
    const ErrorCode error = co_await worker.read(batch);
    trace.results.push_back(error);
    trace.order.push_back(id);
    worker.release(batch);
    if (error != ErrorCode::kOk) {
      break;
    }
  }
  --trace.running;
}

Task<void> yield_times(Worker& worker, Trace& trace, int id, int times) {
  for (int i = 0; i < times; ++i) {
    trace.order.push_back(id);
    co_await worker.yield();
  }
}

/// Reads or yields until it is told to stop; keeps the reason.
Task<void> run_until_stopped(Worker& worker, Trace& trace, bool by_yield) {
  rdma::ReadBatch batch;
  ErrorCode error = ErrorCode::kOk;
  while (error == ErrorCode::kOk) {
    if (by_yield) {
      co_await worker.yield();
      error = worker.stopped();
    } else {
      fill(batch, 0);
      error = co_await worker.read(batch);
      worker.release(batch);
    }
  }
  trace.results.push_back(error);
}

/// Hands out queries made by `make(i)` for i in [0, count), each with the same deadline.
template <class Make>
class Source {
 public:
  Source(int count, Make make, Ticks deadline = kNever) : count_(count), make_(std::move(make)), deadline_(deadline) {}
  Query operator()() {
    if (asked_ >= count_) {
      ++empty_answers_;
      return {};
    }
    return {make_(asked_++), deadline_};
  }
  [[nodiscard]] int asked() const { return asked_; }
  [[nodiscard]] int empty_answers() const { return empty_answers_; }

 private:
  int count_;
  Make make_;
  Ticks deadline_;
  int asked_ = 0;
  int empty_answers_ = 0;
};

TEST(Worker, RefusesZeroInFlight) {
  ScriptedQueue queue(8);
  EXPECT_THROW(Worker(queue, 0), Error);
}

TEST(Worker, RunsEveryQueryWithinItsBound) {
  ScriptedQueue queue(64);
  queue.complete_all = true;
  Worker worker(queue, 5);
  Trace trace;
  Source source(23, [&](int id) { return read_times(worker, trace, id, 3); });
  worker.run(source);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(23 * 3, ErrorCode::kOk));
  EXPECT_EQ(trace.most_running, 5U);
  EXPECT_EQ(source.empty_answers(), 1);
  EXPECT_EQ(worker.running(), 0U);
  EXPECT_EQ(queue.releases, 23U * 3);
  EXPECT_EQ(queue.wrong_calls, 0U);
  EXPECT_EQ(worker.counters().batches, 23U * 3);
}

TEST(Worker, ItsBoundCanBeLowered) {
  ScriptedQueue queue(64);
  queue.complete_all = true;
  Worker worker(queue, 5);
  for (const auto& [limit, most] : {std::pair{2U, 2U}, {1U, 1U}, {0U, 1U}, {5U, 5U}, {99U, 5U}}) {
    Trace trace;
    worker.limit_in_flight(limit);
    worker.run(Source(23, [&](int id) { return read_times(worker, trace, id, 3); }));
    EXPECT_EQ(trace.results, std::vector<ErrorCode>(23 * 3, ErrorCode::kOk)) << limit;
    EXPECT_EQ(trace.most_running, most) << limit;
  }
}

// With nothing to send and nothing to take in, and only then.
TEST(Worker, WaitsInTheQueueWhileNoQueryCanGoOn) {
  ScriptedQueue queue(64);
  queue.complete_in_wait = true;
  Worker worker(queue, 4);
  Trace trace;
  worker.run(Source(4, [&](int id) { return read_times(worker, trace, id, 3); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(4 * 3, ErrorCode::kOk));
  EXPECT_EQ(queue.waits, 12U);
  EXPECT_EQ(queue.wrong_calls, 0U);
  worker.run(Source(4, [&](int id) { return yield_times(worker, trace, id, 3); }));
  EXPECT_EQ(queue.waits, 12U) << "queries could go on";
}

// A CPU quota must not be spent on waiting: no answer comes until the worker has slept.
TEST(Worker, SleepsInALongWait) {
  for (const unsigned threads : {0U, 1U}) {
    SleepyQueue queue;
    PollingBudget budget(threads);
    const PollingBudget::Place other(budget);
    Worker worker(queue, 1, budget);
    queue.worker = &worker;
    Trace trace;
    bool started = false;
    worker.run([&] { return std::exchange(started, true) ? Task<void>() : read_times(worker, trace, 1, 1); });
    EXPECT_EQ(trace.results, std::vector{ErrorCode::kOk});
    EXPECT_GE(worker.counters().sleeps, 3U) << threads;
  }
}

TEST(Worker, LeavesSleepingToAQueueThatBlocks) {
  ScriptedQueue queue(8);
  queue.complete_in_wait = queue.wait_blocks = true;
  Worker worker(queue, 1);
  Trace trace;
  int left = 3;
  worker.run([&] { return left-- > 0 ? read_times(worker, trace, left, 5) : Task<void>(); });
  EXPECT_EQ(trace.results.size(), 15U);
  EXPECT_EQ(worker.counters().sleeps, 0U);
}

TEST(Worker, TakesPlainTasksAndNone) {
  ScriptedQueue queue(8);
  queue.complete_all = true;
  Worker worker(queue, 2);
  Trace trace;
  worker.run([]() -> Task<void> { return {}; });
  bool given = false;
  worker.run([&]() -> Task<void> {
    if (std::exchange(given, true)) {
      return {};
    }
    return read_times(worker, trace, 1, 1);
  });
  EXPECT_EQ(trace.results.size(), 1U);
}

TEST(Worker, FlushesOncePerTurnForAllQueries) {
  ScriptedQueue queue(64);
  queue.complete_all = true;
  Worker worker(queue, 16);
  Trace trace;
  worker.run(Source(16, [&](int id) { return read_times(worker, trace, id, 10); }));
  EXPECT_EQ(queue.submits, 160U);
  EXPECT_EQ(queue.flushes, 10U);
  EXPECT_EQ(worker.counters().flushes, 10U);
}

TEST(Worker, ReadyQueriesTakeTurns) {
  ScriptedQueue queue(8);
  Worker worker(queue, 3);
  Trace trace;
  worker.run(Source(3, [&](int id) { return yield_times(worker, trace, id, 3); }));
  EXPECT_EQ(trace.order, (std::vector<int>{0, 1, 2, 0, 1, 2, 0, 1, 2}));
}

TEST(Worker, YieldingQueriesDoNotStarveCompletions) {
  ScriptedQueue queue(8);
  queue.complete_all = true;
  Worker worker(queue, 2);
  Trace trace;
  worker.run(Source(
      2, [&](int id) { return id == 0 ? read_times(worker, trace, 0, 3) : yield_times(worker, trace, 1, 100); }));
  // A read and its completion take a turn each at most.
  EXPECT_LT(std::find(trace.order.rbegin(), trace.order.rend(), 0) - trace.order.rbegin(), 100);
  EXPECT_GT(std::find(trace.order.rbegin(), trace.order.rend(), 0) - trace.order.rbegin(), 90);
}

TEST(Worker, PassesErrorsOn) {
  ScriptedQueue queue(8);
  queue.complete_all = true;
  queue.result = ErrorCode::kUnavailable;
  Worker worker(queue, 2);
  Trace trace;
  worker.run(Source(2, [&](int id) { return read_times(worker, trace, id, 5); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(2, ErrorCode::kUnavailable));
  EXPECT_EQ(queue.releases, 0U) << "a failed batch has nothing to give back";
}

TEST(Worker, RefusesBatchesOfNoOrTooManyReads) {
  ScriptedQueue queue(64);
  Worker worker(queue, 2);
  Trace trace;
  worker.run(Source(
      2, [&](int id) { return read_times(worker, trace, id, 1, id == 0 ? 0 : rdma::ReadBatch::kMaxReads + 1); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(2, ErrorCode::kInvalidArgument));
  EXPECT_EQ(queue.submits, 0U);
}

Task<void> read_round(Worker& worker, Trace& trace, std::vector<rdma::ReadBatch>& batches) {
  trace.results.push_back(co_await worker.read(batches));
  for (rdma::ReadBatch& batch : batches) {
    worker.release(batch);
  }
}

std::vector<rdma::ReadBatch> batches_of(const std::vector<std::uint32_t>& counts) {
  std::vector<rdma::ReadBatch> batches(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    fill(batches[i], i, counts[i]);
  }
  return batches;
}

TEST(Worker, BatchesOfARoundGoOutTogetherAndComeBackTogether) {
  ScriptedQueue queue(3 * rdma::ReadBatch::kMaxReads);
  queue.complete_all = true;
  queue.needs_release = true;
  Worker worker(queue, 1);
  Trace trace;
  auto batches = batches_of({rdma::ReadBatch::kMaxReads, rdma::ReadBatch::kMaxReads, 7});
  worker.run(Source(3, [&](int) { return read_round(worker, trace, batches); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(3, ErrorCode::kOk));
  EXPECT_EQ(queue.submits, 9U);
  EXPECT_EQ(queue.flushes, 3U);
  EXPECT_EQ(queue.releases, 9U);
  EXPECT_EQ(queue.wrong_calls, 0U);
}

TEST(Worker, ARoundWithAFailedBatchHoldsNothing) {
  ScriptedQueue queue(64);
  queue.needs_release = true;
  Worker worker(queue, 2);
  Trace trace;
  auto batches = batches_of({3, 4, 5});
  // The other query ends the batches, one of them with an error.
  const auto end_batches = [&]() -> Task<void> {
    co_await worker.yield();
    co_await worker.yield();
    EXPECT_EQ(queue.sent.size(), 3U);
    queue.complete(batches[0], ErrorCode::kOk);
    queue.complete(batches[2], ErrorCode::kUnavailable);
    co_await worker.yield();
    co_await worker.yield();
    EXPECT_TRUE(trace.results.empty()) << "not before all are back";
    queue.complete(batches[1], ErrorCode::kOk);
  };
  worker.run(Source(2, [&](int id) { return id == 0 ? read_round(worker, trace, batches) : end_batches(); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>{ErrorCode::kUnavailable});
  EXPECT_EQ(queue.releases, 2U);
  EXPECT_EQ(queue.wrong_calls, 0U);
  EXPECT_TRUE(queue.can_submit(64));
}

TEST(Worker, RefusesRoundsThatCannotBe) {
  ScriptedQueue queue(8);
  queue.complete_all = true;
  Worker worker(queue, 1);
  Trace trace;
  auto empty = batches_of({3, 0});
  auto large = batches_of({5, 4});  // each would fit
  worker.run(Source(2, [&](int id) { return read_round(worker, trace, id == 0 ? empty : large); }));
  EXPECT_EQ(trace.results, (std::vector<ErrorCode>{ErrorCode::kInvalidArgument, ErrorCode::kResourceExhausted}));
  EXPECT_EQ(queue.submits, 0U);
}

TEST(Worker, ADeadlineEndsWhatIsLeftOfARound) {
  ScriptedQueue queue(64);
  ManualClock clock;
  Worker worker(queue, 2, PollingBudget::of_process(), TimeSource(clock));
  Trace trace;
  auto batches = batches_of({3, 4});
  const auto end_one = [&]() -> Task<void> {
    co_await worker.yield();
    co_await worker.yield();
    queue.complete(batches[0], ErrorCode::kOk);
    co_await worker.yield();
    clock.advance(20ms);
  };
  worker.run(
      Source(2, [&](int id) { return id == 0 ? read_round(worker, trace, batches) : end_one(); }, clock.after(20ms)));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>{ErrorCode::kDeadlineExceeded});
  EXPECT_EQ(queue.cancels, 1U) << "what has come back is not cancelled";
  EXPECT_EQ(queue.releases, 1U);
}

TEST(Worker, FullQueueServesInOrder) {
  ScriptedQueue queue(4);
  queue.complete_all = true;
  Worker worker(queue, 6);
  Trace trace;
  // The small batch of query 2 would fit beside the first one, but query 1 came before it.
  worker.run(Source(6, [&](int id) { return read_times(worker, trace, id, 2, id == 2 ? 1 : 3); }));
  EXPECT_EQ(queue.wrong_calls, 0U);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(12, ErrorCode::kOk));
  EXPECT_EQ(std::vector<std::uint64_t>(queue.submitted_offsets.begin(), queue.submitted_offsets.begin() + 6),
            (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Worker, RoomMayComeFromReleases) {
  ScriptedQueue queue(4);
  queue.complete_all = true;
  queue.needs_release = true;
  Worker worker(queue, 6);
  Trace trace;
  worker.run(Source(6, [&](int id) { return read_times(worker, trace, id, 4, 2); }));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(24, ErrorCode::kOk));
  EXPECT_EQ(queue.wrong_calls, 0U);
}

TEST(Worker, BatchThatNeverFitsFails) {
  ScriptedQueue queue(4);
  queue.complete_all = true;
  Worker worker(queue, 3);
  Trace trace;
  worker.run(Source(3, [&](int id) { return read_times(worker, trace, id, 2, id == 1 ? 5 : 2); }));
  EXPECT_EQ(std::count(trace.results.begin(), trace.results.end(), ErrorCode::kResourceExhausted), 1);
  EXPECT_EQ(std::count(trace.results.begin(), trace.results.end(), ErrorCode::kOk), 4);
}

TEST(Worker, CancelStopsReadersWaitersAndYielders) {
  ScriptedQueue queue(2);  // two queries in flight, one waits for room, one yields
  Worker worker(queue, 4);
  Trace trace;
  CancelToken token;
  std::atomic<int> turns{0};  // while the others read and wait
  const auto yield = [&]() -> Task<void> {
    while (worker.stopped() == ErrorCode::kOk) {
      ++turns;
      co_await worker.yield();
    }
    trace.results.push_back(worker.stopped());
  };
  Source source(100, [&](int id) { return id == 3 ? yield() : run_until_stopped(worker, trace, false); });
  std::jthread canceller([&] {
    while (turns < 10) {
      std::this_thread::yield();
    }
    token.cancel();
  });
  worker.run(source, &token);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(4, ErrorCode::kCancelled));
  EXPECT_EQ(source.asked(), 4) << "no query starts after the cancel";
  EXPECT_EQ(queue.in_flight(), 0U);
  EXPECT_EQ(queue.cancels, 2U);
}

TEST(Worker, CancelledTokenStartsNothing) {
  ScriptedQueue queue(2);
  Worker worker(queue, 4);
  Trace trace;
  CancelToken token;
  token.cancel();
  Source source(5, [&](int) { return run_until_stopped(worker, trace, false); });
  worker.run(source, &token);
  EXPECT_EQ(source.asked(), 0);
}

/// Completes what it is told a while later, on the worker's own thread.
Task<void> complete_later(Worker& worker, ScriptedQueue& queue, int turns, ErrorCode error) {
  for (int i = 0; i < turns; ++i) {
    co_await worker.yield();
  }
  while (!queue.sent.empty()) {
    queue.complete(*queue.sent.front(), error);
  }
}

TEST(Worker, WaitsForBatchesThatCancelDoesNotEnd) {
  ScriptedQueue queue(8);
  queue.cancel_completes = false;
  Worker worker(queue, 3);
  Trace trace;
  CancelToken token;
  worker.run(Source(3,
                    [&](int id) {
                      if (id == 2) {
                        return complete_later(worker, queue, 50, ErrorCode::kCancelled);
                      }
                      token.cancel();
                      return run_until_stopped(worker, trace, false);
                    }),
             &token);
  EXPECT_EQ(queue.in_flight(), 0U);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(2, ErrorCode::kCancelled));
}

TEST(Worker, CompletionThatBeatsTheCancelIsOk) {
  ScriptedQueue queue(8);
  queue.cancel_completes = false;
  Worker worker(queue, 2);
  Trace trace;
  CancelToken token;
  worker.run(Source(2,
                    [&](int id) {
                      if (id == 1) {
                        token.cancel();
                        return complete_later(worker, queue, 5, ErrorCode::kOk);
                      }
                      return read_times(worker, trace, 0, 5);
                    }),
             &token);
  EXPECT_EQ(trace.results, (std::vector<ErrorCode>{ErrorCode::kOk, ErrorCode::kCancelled}));
  EXPECT_EQ(queue.submits, 1U) << "the second read must not reach the queue";
  EXPECT_EQ(queue.releases, 1U);
}

TEST(Worker, DeadlineEndsItsQueryOnly) {
  ScriptedQueue queue(8);
  ManualClock clock;
  Worker worker(queue, 3, PollingBudget::of_process(), TimeSource(clock));
  Trace late;
  Trace other;
  const auto pass_time = [&]() -> Task<void> {
    for (int i = 0; i < 20; ++i) {
      co_await worker.yield();
      other.order.push_back(static_cast<int>(late.results.size()));
      clock.advance(1ms);
    }
  };
  int given = 0;
  worker.run([&]() -> Query {
    switch (given++) {
      case 0:
        return {run_until_stopped(worker, late, false), clock.after(5ms)};
      case 1:
        return {run_until_stopped(worker, late, true), clock.after(10ms)};
      case 2:
        return {pass_time(), clock.after(1h)};
      default:
        return {};
    }
  });
  EXPECT_EQ(late.results, std::vector<ErrorCode>(2, ErrorCode::kDeadlineExceeded));
  ASSERT_EQ(other.order.size(), 20U);
  EXPECT_EQ(other.order[4], 0) << "before any deadline";
  EXPECT_EQ(other.order[8], 1) << "after the first";
  EXPECT_EQ(other.order[19], 2);
}

TEST(Worker, DeadlineEndsAWaitForRoom) {
  ScriptedQueue queue(1);
  ManualClock clock;
  queue.in_wait = [&] { clock.advance(1ms); };
  Worker worker(queue, 2, PollingBudget::of_process(), TimeSource(clock));
  Trace trace;
  worker.run(Source(2, [&](int) { return run_until_stopped(worker, trace, false); }, clock.after(5ms)));
  EXPECT_EQ(queue.waits, 5U);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(2, ErrorCode::kDeadlineExceeded));
  EXPECT_EQ(queue.submits, 1U);
}

TEST(Worker, PastDeadlineFailsAtOnce) {
  ScriptedQueue queue(1);
  const ManualClock clock;
  Worker worker(queue, 1, PollingBudget::of_process(), TimeSource(clock));
  Trace trace;
  const Ticks past = clock.now() - 1;
  worker.run(Source(3, [&](int) { return run_until_stopped(worker, trace, false); }, past));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(3, ErrorCode::kDeadlineExceeded));
}

Task<void> throw_after(Worker& worker, int turns) {
  for (int i = 0; i < turns; ++i) {
    co_await worker.yield();
  }
  throw std::runtime_error("query failed");
}

TEST(Worker, ExceptionCancelsTheOthersAndLeaves) {
  ScriptedQueue queue(2);
  Worker worker(queue, 4);
  Trace trace;
  Source source(100,
                [&](int id) { return id == 3 ? throw_after(worker, 10) : run_until_stopped(worker, trace, false); });
  EXPECT_THROW(worker.run(source), std::runtime_error);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(3, ErrorCode::kCancelled));
  EXPECT_EQ(queue.in_flight(), 0U);

  queue.complete_all = true;
  Trace again;
  worker.run(Source(5, [&](int id) { return read_times(worker, again, id, 1); }));
  EXPECT_EQ(again.results, std::vector<ErrorCode>(5, ErrorCode::kOk));
}

TEST(Worker, ExceptionOfTheSourceLeavesAfterTheRest) {
  ScriptedQueue queue(8);
  Worker worker(queue, 4);
  Trace trace;
  int asked = 0;
  EXPECT_THROW(worker.run([&]() -> Query {
    if (++asked == 3) {
      throw std::out_of_range("no third query");
    }
    return {run_until_stopped(worker, trace, false)};
  }),
               std::out_of_range);
  EXPECT_EQ(trace.results, std::vector<ErrorCode>(2, ErrorCode::kCancelled));
  EXPECT_EQ(asked, 3);
}

Task<void> wait_for_nobody(const std::shared_ptr<int> held) {
  (void)held;
  co_await std::suspend_always{};
}

Task<void> yield_and_tell(Worker& worker, bool& has_ended) {
  co_await worker.yield();
  has_ended = worker.stopped() == ErrorCode::kOk;
}

TEST(Worker, ForeignSuspensionIsAnErrorAndNotAHang) {
  ScriptedQueue queue(8);
  Worker worker(queue, 2);
  const auto held = std::make_shared<int>(0);
  try {
    worker.run(Source(1, [&](int) { return wait_for_nobody(held); }));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(worker.running(), 0U);
}

TEST(Worker, ForeignSuspensionEndsNoOtherOfAService) {
  ScriptedQueue queue(8);
  Worker worker(queue, 2);
  const auto held = std::make_shared<int>(0);
  int started = 0;
  bool has_ended = false;
  worker.serve([&]() -> Query {
    ++started;
    if (started == 1) return {wait_for_nobody(held)};
    if (started == 2) return {yield_and_tell(worker, has_ended)};
    return {};
  });
  EXPECT_TRUE(has_ended);
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(worker.running(), 0U);
}

Task<ErrorCode> read_inside(Worker& worker, rdma::ReadBatch& batch) {
  const ErrorCode error = co_await worker.read(batch);
  worker.release(batch);
  co_return error;
}

Task<void> read_nested(Worker& worker, int times) {
  rdma::ReadBatch batch;
  for (int i = 0; i < times; ++i) {
    fill(batch, 0);
    const ErrorCode error = co_await read_inside(worker, batch);
    if (error != ErrorCode::kOk) {
      throw Error(error, "a nested read failed");
    }
    co_await worker.yield();
  }
}

TEST(Worker, SteadyStateDoesNotAllocate) {
  ScriptedQueue queue(64);
  queue.complete_all = true;
  queue.unflushed.reserve(1000);
  queue.sent.reserve(1000);
  queue.completed.reserve(1000);
  queue.submitted_offsets.reserve(100'000);
  Worker worker(queue, 8);
  const auto run = [&] { worker.run(Source(200, [&](int) { return read_nested(worker, 20); })); };
  run();
  const std::uint64_t before = allocation_count;
  run();
  EXPECT_EQ(allocation_count, before);
}

TEST(Worker, CountsIdleTime) {
  ScriptedQueue queue(8);
  ManualClock clock;
  queue.in_wait = [&] { clock.advance(1ms); };
  Worker worker(queue, 1, PollingBudget::of_process(), TimeSource(clock));
  Trace trace;
  const Ticks start = clock.now();
  worker.run(Source(1, [&](int) { return run_until_stopped(worker, trace, false); }, clock.after(20ms)));
  EXPECT_GE(clock.now(), start + static_cast<Ticks>(19.9e6 * TickClock::ticks_per_ns()));
  EXPECT_EQ(worker.counters().idle_ticks, clock.now() - start);
  EXPECT_GT(worker.counters().turns, 1U);
}

TEST(Worker, ADeadlineComesByItselfRealTime) {
  ScriptedQueue queue(8);
  Worker worker(queue, 1);
  Trace trace;
  const auto start = std::chrono::steady_clock::now();
  worker.run(Source(1, [&](int) { return run_until_stopped(worker, trace, false); }, TickClock::after(20ms)));
  EXPECT_EQ(trace.results, std::vector<ErrorCode>{ErrorCode::kDeadlineExceeded});
  EXPECT_GE(std::chrono::steady_clock::now() - start, 19ms);
}

}  // namespace
}  // namespace tiervec::engine

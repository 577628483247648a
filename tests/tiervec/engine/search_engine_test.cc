#include <tiervec/engine/search_engine.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <tiervec/core/thread.h>
#include <tiervec/engine/ended_searches.h>

namespace tiervec::engine {
namespace {

/// What the queues of a test share: a device that answers nothing while it is shut.
struct Device {
  std::atomic<bool> open{true};
  std::atomic<std::uint32_t> in_flight{0};
  std::atomic<std::uint32_t> most_in_flight{0};
};

/// Completes batches in order while the device is open, cancelled ones at once.
class DeviceQueue final : public rdma::TierQueue {
 public:
  explicit DeviceQueue(Device& device) : device_(device) {}

  [[nodiscard]] bool can_submit(std::uint32_t) const noexcept override { return true; }
  void submit(rdma::ReadBatch& batch) noexcept override {
    batch.queue_word = 0;
    sent_.push_back(&batch);
    const std::uint32_t now = device_.in_flight.fetch_add(1) + 1;
    if (now > device_.most_in_flight) device_.most_in_flight = now;
  }
  void flush() noexcept override {}
  std::size_t poll(std::span<rdma::ReadBatch*> done) noexcept override {
    std::size_t count = 0;
    for (std::size_t i = 0; i < sent_.size() && count < done.size();) {
      rdma::ReadBatch& batch = *sent_[i];
      if (batch.queue_word == 0 && !device_.open) {
        ++i;
        continue;
      }
      batch.error = batch.queue_word == 0 ? ErrorCode::kOk : ErrorCode::kCancelled;
      done[count++] = &batch;
      sent_.erase(sent_.begin() + static_cast<std::ptrdiff_t>(i));
      device_.in_flight.fetch_sub(1);
    }
    return count;
  }
  void release(rdma::ReadBatch&) noexcept override {}
  void cancel(rdma::ReadBatch& batch) noexcept override { batch.queue_word = 1; }
  [[nodiscard]] std::size_t in_flight() const noexcept override { return sent_.size(); }

 private:
  Device& device_;
  std::vector<rdma::ReadBatch*> sent_;
};

struct Context {
  Context(Device& device, std::uint32_t room) : queue(device), worker(queue, room) {}
  DeviceQueue queue;
  Worker worker;
};

class NoTier final : public rdma::Tier {
 public:
  [[nodiscard]] std::string url() const override { return "test:"; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return 0; }
  [[nodiscard]] rdma::DeviceProfile profile() const override { return {}; }

 private:
  [[nodiscard]] std::unique_ptr<rdma::TierQueue> make_queue(const rdma::QueueLimits&) override { return nullptr; }
};

/// What one query left behind.
struct Outcome {
  std::thread::id thread;
  ErrorCode read = ErrorCode::kOk;  // of its only read
};

Task<void> read_once(Context& context, SearchState& state, Outcome& outcome, ErrorCode failure) {
  outcome.thread = std::this_thread::get_id();
  rdma::ReadBatch batch;
  batch.count = 1;
  batch.reads[0] = {0, 64};
  outcome.read = co_await context.worker.read(batch);
  if (outcome.read == ErrorCode::kOk) {
    context.worker.release(batch);
    outcome.read = failure;
  }
  if (outcome.read != ErrorCode::kOk) state.fail(outcome.read);
}

Task<void> wait_for_nobody() {
  co_await std::suspend_always{};
}

template <class Condition>
void wait_until(const Condition& condition) {
  while (!condition()) std::this_thread::yield();
}

struct Options {
  unsigned threads = 1;
  std::uint32_t in_flight = 8;
  Ticks deadline = kNever;
  ErrorCode failure = ErrorCode::kOk;
  bool stuck = false;
  std::uint32_t count = 1;
};

class SearchEngineTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kMaxWaitingHere = 2;

  /// Calls of one query each, each from a thread of its own.
  struct Caller {
    CancelToken token;
    Outcome outcome;
    ErrorCode error = ErrorCode::kOk;  // that the call threw
    WorkerTime time;
    std::thread::id own;
    std::atomic<bool> ended{false};
    std::jthread thread;
  };

  void run(Caller& caller, const Options& options) {
    caller.own = std::this_thread::get_id();
    try {
      caller.time = engine->run(
          {.count = options.count,
           .threads = options.threads,
           .in_flight = options.in_flight,
           .room = 8,
           .cancel = &caller.token,
           .deadline = options.deadline},
          [&](std::uint32_t room) {
            if (contexts_refused.load()) throw Error(ErrorCode::kUnavailable, "no queue");
            ++contexts;
            return std::make_unique<Context>(device, room);
          },
          [&](Context& context, SearchState& state, std::uint32_t) {
            return options.stuck ? wait_for_nobody() : read_once(context, state, caller.outcome, options.failure);
          });
    } catch (const Error& error) {
      caller.error = error.code();
    }
    caller.ended = true;
  }

  Caller& start(const Options& options = {}) {
    Caller& caller = *callers.emplace_back(std::make_unique<Caller>());
    caller.thread = std::jthread([this, &caller, options] { run(caller, options); });
    return caller;
  }

  /// One that holds the only thread until the device opens: others go to the pool.
  Caller& occupy() {
    device.open = false;
    Caller& caller = start();
    wait_until([&] { return device.in_flight == 1; });
    return caller;
  }

  void finish() {
    device.open = true;
    for (const auto& caller : callers) {
      if (caller->thread.joinable()) caller->thread.join();
    }
  }

  ~SearchEngineTest() override { finish(); }

  Device device;
  std::atomic<bool> contexts_refused{false};
  std::atomic<int> contexts{0};
  std::unique_ptr<SearchEngine<Context>> engine =
      std::make_unique<SearchEngine<Context>>(std::make_shared<NoTier>(), kMaxWaitingHere);
  std::vector<std::unique_ptr<Caller>> callers;
};

TEST_F(SearchEngineTest, RunsALoneQueryOnTheThreadOfItsCaller) {
  Caller caller;
  for (int i = 0; i < 3; ++i) run(caller, {});
  EXPECT_EQ(caller.outcome.thread, std::this_thread::get_id());
  EXPECT_EQ(caller.error, ErrorCode::kOk);
  EXPECT_EQ(engine->pool_workers(), 0U);
  EXPECT_EQ(contexts, 1);
}

TEST_F(SearchEngineTest, RunsLoneQueriesOfManyCallersTogetherOnOneWorker) {
  const Caller& first = occupy();
  for (std::uint32_t i = 0; i < 5; ++i) {
    start();
    wait_until([&] { return device.in_flight == 2 + i; });
  }
  EXPECT_EQ(engine->pool_workers(), 1U);
  finish();
  EXPECT_EQ(device.most_in_flight, 6U);
  EXPECT_EQ(contexts, 2);  // one of the first caller's, one of the worker's
  EXPECT_EQ(first.outcome.thread, first.own);
  for (const auto& caller : callers) {
    EXPECT_EQ(caller->error, ErrorCode::kOk);
    EXPECT_EQ(caller->time.threads, 1U);
    EXPECT_GE(caller->time.cpu_us, 0);
    if (caller.get() != &first) {
      EXPECT_NE(caller->outcome.thread, caller->own);
      EXPECT_GT(caller->time.waiting_us, 0);
    }
  }
}

TEST_F(SearchEngineTest, HasNoMoreWorkersThanACallMayHaveThreads) {
  device.open = false;
  for (std::uint32_t i = 0; i < 7; ++i) {
    start({.threads = 2});
    wait_until([&] { return device.in_flight == i + 1; });
  }
  EXPECT_LE(engine->pool_workers(), 2U);
  EXPECT_GE(engine->pool_workers(), 1U);
}

TEST_F(SearchEngineTest, CancelsTheQueryOfATokenAndNoOther) {
  occupy();
  Caller& other = start();
  Caller& stopped = start();
  wait_until([&] { return device.in_flight == 3; });
  stopped.token.cancel();
  stopped.thread.join();
  EXPECT_EQ(stopped.error, ErrorCode::kCancelled);
  EXPECT_EQ(stopped.outcome.read, ErrorCode::kCancelled);
  EXPECT_FALSE(other.ended);
  finish();
  EXPECT_EQ(other.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, EndsAQueryAtItsOwnDeadline) {
  occupy();
  Caller& other = start();
  wait_until([&] { return device.in_flight == 2; });
  Caller& late = start({.deadline = TickClock::now()});
  late.thread.join();
  EXPECT_EQ(late.error, ErrorCode::kDeadlineExceeded);
  EXPECT_FALSE(other.ended);
  finish();
  EXPECT_EQ(other.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, StopsQueriesThatNoWorkerHasTaken) {
  occupy();
  Caller& running = start({.in_flight = 1});
  wait_until([&] { return device.in_flight == 2; });
  Caller& stopped = start({.in_flight = 1});
  stopped.token.cancel();
  stopped.thread.join();
  Caller& late = start({.in_flight = 1, .deadline = TickClock::now()});
  late.thread.join();
  EXPECT_EQ(stopped.error, ErrorCode::kCancelled);
  EXPECT_EQ(late.error, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(late.outcome.thread, std::thread::id{});
  finish();
  EXPECT_EQ(running.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, RefusesAtOnceWhatTheQueueHasNoRoomFor) {
  occupy();
  start({.in_flight = 1});
  wait_until([&] { return device.in_flight == 2; });
  std::vector<Caller*> more;
  for (std::uint32_t i = 0; i < kMaxWaitingHere + 2; ++i) more.push_back(&start({.in_flight = 1}));
  wait_until(
      [&] { return std::count_if(more.begin(), more.end(), [](Caller* one) { return one->ended.load(); }) == 2; });
  finish();
  const auto refused = [](Caller* one) { return one->error == ErrorCode::kResourceExhausted; };
  EXPECT_EQ(std::count_if(more.begin(), more.end(), refused), 2);
}

TEST_F(SearchEngineTest, AnErrorIsOfItsQueryOnly) {
  occupy();
  Caller& wrong = start({.failure = ErrorCode::kDataLoss});
  Caller& right = start();
  wait_until([&] { return device.in_flight == 3; });
  finish();
  EXPECT_EQ(wrong.error, ErrorCode::kDataLoss);
  EXPECT_EQ(right.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, AQueryThatNobodyResumesIsAnErrorAndTheWorkerGoesOn) {
  occupy();
  Caller& stuck = start({.stuck = true});
  stuck.thread.join();
  EXPECT_EQ(stuck.error, ErrorCode::kInternal);
  Caller& right = start();
  wait_until([&] { return device.in_flight == 2; });
  finish();
  EXPECT_EQ(right.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, WithoutAContextForAWorkerTheCallFails) {
  occupy();
  contexts_refused = true;
  Caller& refused = start();
  refused.thread.join();
  EXPECT_EQ(refused.error, ErrorCode::kUnavailable);
  contexts_refused = false;
  Caller& right = start();
  wait_until([&] { return device.in_flight == 2; });
  finish();
  EXPECT_EQ(right.error, ErrorCode::kOk);
}

TEST_F(SearchEngineTest, WithoutAThreadForAWorkerTheCallerDoesIt) {
  occupy();
  Thread::allow_starts(0);
  Caller& caller = start();
  wait_until([&] { return device.in_flight == 2; });
  Thread::allow_all_starts();
  finish();
  EXPECT_EQ(caller.error, ErrorCode::kOk);
  EXPECT_EQ(caller.outcome.thread, caller.own);
  EXPECT_EQ(caller.time.threads_refused, 1U);
  EXPECT_EQ(engine->pool_workers(), 0U);
}

TEST_F(SearchEngineTest, EndsItsWorkersWithItself) {
  occupy();
  start();
  wait_until([&] { return device.in_flight == 2; });
  finish();
  EXPECT_EQ(engine->pool_workers(), 1U);
  engine.reset();
}

TEST_F(SearchEngineTest, LeavesLoneQueriesToTheirCallersOnceTheOthersHaveEnded) {
  occupy();
  start();
  wait_until([&] { return device.in_flight == 2; });
  finish();
  Caller caller;
  run(caller, {});
  EXPECT_EQ(caller.outcome.thread, std::this_thread::get_id());
}

TEST_F(SearchEngineTest, ManyCallersAtOnceGetTheirAnswers) {
  engine = std::make_unique<SearchEngine<Context>>(std::make_shared<NoTier>());
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        for (int j = 0; j < 100; ++j) {
          Caller caller;
          const bool fails = (i + j) % 5 == 0;
          const bool is_cancelled = (i + j) % 7 == 0;
          if (is_cancelled) caller.token.cancel();
          run(caller, {.threads = 2, .failure = fails ? ErrorCode::kDataLoss : ErrorCode::kOk});
          const bool is_right = is_cancelled
                                    ? caller.error == ErrorCode::kCancelled || caller.error == ErrorCode::kDataLoss
                                    : caller.error == (fails ? ErrorCode::kDataLoss : ErrorCode::kOk);
          wrong += is_right ? 0 : 1;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

struct SubmittedSearch {
  CancelToken token;
  std::vector<Outcome> outcomes;
  std::shared_ptr<EndedSearches> ended = std::make_shared<EndedSearches>();
  std::unique_ptr<PendingSearch> pending;

  ErrorCode finish() const {
    try {
      (void)pending->finish();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kOk;
  }
};

class SubmitTest : public SearchEngineTest {
 protected:
  /// Begins a search; the device is shut, so none of its queries ends.
  std::unique_ptr<SubmittedSearch> submit(const Options& options, bool one_by_one = false) {
    auto search = std::make_unique<SubmittedSearch>();
    search->outcomes.resize(options.count);
    search->ended->expect();
    search->pending = engine->submit(
        {.count = options.count,
         .threads = options.threads,
         .in_flight = options.in_flight,
         .room = 8,
         .one_by_one = one_by_one,
         .cancel = &search->token,
         .deadline = options.deadline},
        [&](std::uint32_t room) {
          if (contexts_refused.load()) throw Error(ErrorCode::kUnavailable, "no queue");
          return std::make_unique<Context>(device, room);
        },
        [outcomes = search->outcomes.data(), options](Context& context, SearchState& state, std::uint32_t index) {
          return options.stuck ? wait_for_nobody() : read_once(context, state, outcomes[index], options.failure);
        },
        search->ended, 1);
    return search;
  }
};

TEST_F(SubmitTest, WorkersDoAllOfItAndTellOnce) {
  device.open = false;
  const auto search = submit({.threads = 2, .count = 30});
  wait_until([&] { return device.in_flight == 16; });
  EXPECT_FALSE(search->pending->wait_for(std::chrono::nanoseconds(0)));
  EXPECT_TRUE(search->ended->take().empty());
  device.open = true;
  const WorkerTime time = search->pending->finish();
  EXPECT_EQ(time.threads, 2U);
  EXPECT_EQ(time.threads_refused, 0U);
  EXPECT_EQ(search->ended->take(), std::vector<std::uint64_t>{1});
  for (const Outcome& outcome : search->outcomes) {
    EXPECT_NE(outcome.thread, std::this_thread::get_id());
    EXPECT_NE(outcome.thread, std::thread::id{});
  }
}

TEST_F(SubmitTest, QueriesOneByOneDoNotRunBesideEachOther) {
  const auto search = submit({.threads = 2, .count = 30}, true);
  EXPECT_EQ(search->finish(), ErrorCode::kOk);
  EXPECT_EQ(device.most_in_flight, 1U);
}

TEST_F(SubmitTest, ALoneQueryGetsItsTurnBesideABatch) {
  device.open = false;
  const auto batch = submit({.in_flight = 2, .count = 1000});
  wait_until([&] { return device.in_flight == 2; });
  const auto lone = submit({.in_flight = 2});
  device.open = true;
  EXPECT_EQ(lone->finish(), ErrorCode::kOk);
  batch->token.cancel();
  (void)batch->finish();
}

TEST_F(SubmitTest, ACancelEndsWhatRunsAndWhatWaits) {
  device.open = false;
  const auto search = submit({.in_flight = 2, .count = 50});
  const auto other = submit({.in_flight = 2});
  wait_until([&] { return device.in_flight == 2; });
  search->pending->cancel();
  EXPECT_EQ(search->finish(), ErrorCode::kCancelled);
  device.open = true;
  EXPECT_EQ(other->finish(), ErrorCode::kOk);
}

TEST_F(SubmitTest, ATokenOfItsCallerEndsIt) {
  device.open = false;
  const auto search = submit({.in_flight = 2, .count = 50});
  wait_until([&] { return device.in_flight == 2; });
  search->token.cancel();
  EXPECT_EQ(search->finish(), ErrorCode::kCancelled);
}

TEST_F(SubmitTest, ATokenEndsWhatNoWorkerHasTakenBeforeItsCancelReturns) {
  device.open = false;
  const auto running = submit({.in_flight = 1});
  wait_until([&] { return device.in_flight == 1; });
  const auto search = submit({.in_flight = 1, .count = 5});
  search->token.cancel();
  EXPECT_TRUE(search->pending->wait_for(std::chrono::nanoseconds(0)));
  EXPECT_EQ(search->ended->take().size(), 1U);
  EXPECT_EQ(search->outcomes[0].thread, std::thread::id{});
}

TEST_F(SubmitTest, ADeadlineEndsWhatRunsAndWhatNobodyTook) {
  device.open = false;
  const auto running = submit({.in_flight = 1, .deadline = TickClock::now()});
  EXPECT_EQ(running->finish(), ErrorCode::kDeadlineExceeded);
  const auto first = submit({.in_flight = 1});
  wait_until([&] { return device.in_flight == 1; });
  const auto search = submit({.in_flight = 1, .count = 5});
  search->pending->expire();
  EXPECT_TRUE(search->pending->wait_for(std::chrono::nanoseconds(0)));
  EXPECT_EQ(search->finish(), ErrorCode::kDeadlineExceeded);
}

TEST_F(SubmitTest, ItsEndWaitsForWhatRuns) {
  device.open = false;
  auto search = submit({.count = 50});
  wait_until([&] { return device.in_flight == 8; });
  search->pending.reset();
  EXPECT_EQ(device.in_flight, 0U);
  EXPECT_EQ(search->ended->take().size(), 1U);
}

TEST_F(SubmitTest, AFailedQueryEndsItsSearchAndNoOther) {
  device.open = false;
  const auto wrong = submit({.failure = ErrorCode::kDataLoss, .count = 3});
  wait_until([&] { return device.in_flight == 3; });
  const auto stuck = submit({.stuck = true, .count = 3});
  const auto right = submit({.count = 3});
  device.open = true;
  EXPECT_EQ(wrong->finish(), ErrorCode::kDataLoss);
  EXPECT_EQ(stuck->finish(), ErrorCode::kInternal);
  EXPECT_EQ(right->finish(), ErrorCode::kOk);
}

TEST_F(SubmitTest, AQueryThatNobodyResumesEndsWhileOthersRun) {
  device.open = false;
  const auto right = submit({});
  wait_until([&] { return device.in_flight == 1; });
  const auto stuck = submit({.stuck = true});
  EXPECT_EQ(stuck->finish(), ErrorCode::kInternal);
  EXPECT_FALSE(right->pending->wait_for(std::chrono::nanoseconds(0)));
  device.open = true;
  EXPECT_EQ(right->finish(), ErrorCode::kOk);
}

TEST_F(SubmitTest, WithoutAThreadOrAContextItIsRefused) {
  Thread::allow_starts(0);
  EXPECT_THROW((void)submit({}), Error);
  Thread::allow_starts(1);
  auto fewer = submit({.threads = 2, .count = 30});
  Thread::allow_all_starts();
  EXPECT_EQ(fewer->pending->finish().threads_refused, 1U);
  fewer.reset();  // before its engine
  engine = std::make_unique<SearchEngine<Context>>(std::make_shared<NoTier>(), kMaxWaitingHere);
  contexts_refused = true;
  EXPECT_THROW((void)submit({}), Error);
}

TEST_F(SubmitTest, RefusesAtOnceWhatTheQueueHasNoRoomFor) {
  device.open = false;
  const auto running = submit({.in_flight = 1});
  wait_until([&] { return device.in_flight == 1; });
  std::vector<std::unique_ptr<SubmittedSearch>> waiting;
  for (std::uint32_t i = 0; i < kMaxWaitingHere; ++i) waiting.push_back(submit({.in_flight = 1}));
  EXPECT_THROW((void)submit({.in_flight = 1}), Error);
}

TEST_F(SubmitTest, ItsEndInAForkedChildLeavesItToTheParent) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not carry their threads and locks over a fork";
#endif
  device.open = false;
  auto search = submit({.count = 20});
  wait_until([&] { return device.in_flight == 8; });
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(60);
    search->token.cancel();
    search->pending->cancel();
    search->pending->expire();
    const bool is_refused = search->finish() == ErrorCode::kUnsupported;
    search->pending.reset();
    ::_exit(is_refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  device.open = true;
  EXPECT_EQ(search->finish(), ErrorCode::kOk);
}

TEST_F(SearchEngineTest, AForkedChildHasWorkersOfItsOwn) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not carry their threads and locks over a fork";
#endif
  occupy();
  start();
  wait_until([&] { return device.in_flight == 2; });
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(60);
    const std::size_t inherited = callers.size();  // threads of the parent: not joined here
    device.in_flight = 0;
    bool is_right = engine->pool_workers() == 0;
    occupy();
    start();
    wait_until([&] { return device.in_flight == 2; });
    is_right &= engine->pool_workers() == 1;
    device.open = true;
    for (std::size_t i = inherited; i < callers.size(); ++i) {
      callers[i]->thread.join();
      is_right &= callers[i]->error == ErrorCode::kOk;
    }
    engine.reset();
    ::_exit(is_right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  finish();
  for (const auto& caller : callers) EXPECT_EQ(caller->error, ErrorCode::kOk);
}

}  // namespace
}  // namespace tiervec::engine

#include <tiervec/engine/request_queue.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::engine {
namespace {

using namespace std::chrono_literals;

/// Counts what it hears.
class Listener final : public SearchListener {
 public:
  void search_ended(std::uint64_t ticket) noexcept override {
    ++heard;
    last = ticket;
  }
  int heard = 0;
  std::uint64_t last = 0;
};

struct Asked {
  explicit Asked(RequestQueue& queue, std::uint32_t queries = 1, Ticks deadline = kNever)
      : request(queue, state, queries, &token, deadline) {
    request.listener = listener;
    request.ticket = 7;
  }
  CancelToken token;
  SearchState state;
  std::shared_ptr<Listener> listener = std::make_shared<Listener>();
  PoolRequest request;
};

/// Queries of the next turn, which end at once.
std::vector<std::uint32_t> take(RequestQueue& queue, const PoolRequest& from) {
  const RequestQueue::Turn turn = queue.take(0);
  EXPECT_EQ(turn.request, &from);
  std::vector<std::uint32_t> queries;
  for (std::uint32_t i = turn.next; i < turn.end; ++i) queries.push_back(i);
  if (turn.request != nullptr) queue.end(*turn.request, turn.end - turn.next);
  return queries;
}

TEST(RequestQueue, GivesInTheOrderThatTheyCame) {
  RequestQueue queue(3);
  Asked first(queue);
  Asked second(queue);
  ASSERT_TRUE(queue.push(first.request) && queue.push(second.request));
  EXPECT_EQ(queue.waiting(), 2U);
  take(queue, first.request);
  take(queue, second.request);
  EXPECT_EQ(queue.take(0).request, nullptr);
  EXPECT_EQ(queue.waiting(), 0U);
  first.request.wait();
  second.request.wait();
  EXPECT_EQ(first.listener->heard, 1);
  EXPECT_EQ(first.listener->last, 7U);
}

TEST(RequestQueue, RequestsTakeTurns) {
  RequestQueue queue(4);
  Asked batch(queue, 1000);
  Asked other(queue, 2);
  Asked lone(queue);
  ASSERT_TRUE(queue.push(batch.request) && queue.push(other.request) && queue.push(lone.request));
  using Queries = std::vector<std::uint32_t>;
  EXPECT_EQ(take(queue, batch.request), Queries{0});
  EXPECT_EQ(take(queue, other.request), Queries{0});
  EXPECT_EQ(take(queue, lone.request), Queries{0});
  EXPECT_EQ(take(queue, batch.request), Queries{1});
  EXPECT_EQ(take(queue, other.request), Queries{1});
  EXPECT_TRUE(lone.request.wait_for(0ns));
  EXPECT_TRUE(other.request.wait_for(0ns));
  std::uint32_t next = 2;
  while (next < 1000) {
    const Queries queries = take(queue, batch.request);
    ASSERT_FALSE(queries.empty());
    EXPECT_LE(queries.size(), 8U);
    EXPECT_EQ(queries.front(), next);
    next += static_cast<std::uint32_t>(queries.size());
  }
  EXPECT_TRUE(batch.request.wait_for(0ns));
}

TEST(RequestQueue, QueriesThatRunOneByOneComeBackAfterEachEnd) {
  RequestQueue queue(1);
  Asked asked(queue, 3);
  asked.request.one_by_one = true;
  ASSERT_TRUE(queue.push(asked.request));
  for (std::uint32_t i = 0; i < 3; ++i) {
    const RequestQueue::Turn turn = queue.take(0);
    ASSERT_EQ(turn.request, &asked.request);
    EXPECT_EQ(turn.next, i);
    EXPECT_EQ(turn.end, i + 1);
    EXPECT_EQ(queue.take(0).request, nullptr);
    queue.end(asked.request, 1);
  }
  EXPECT_TRUE(asked.request.wait_for(0ns));
}

TEST(RequestQueue, RefusesWhatIsBeyondItsLimit) {
  RequestQueue queue(2);
  Asked first(queue);
  Asked second(queue);
  Asked more(queue);
  EXPECT_TRUE(queue.push(first.request) && queue.push(second.request));
  EXPECT_FALSE(queue.push(more.request));
  take(queue, first.request);
  EXPECT_TRUE(queue.push(more.request));
  take(queue, second.request);
  take(queue, more.request);
}

TEST(RequestQueue, ACancelAnywhereLetsItGoAndKeepsTheOthers) {
  for (std::size_t gone = 0; gone < 3; ++gone) {
    RequestQueue queue(4);
    std::vector<std::unique_ptr<Asked>> asked;
    for (int i = 0; i < 3; ++i) {
      asked.push_back(std::make_unique<Asked>(queue));
      ASSERT_TRUE(queue.push(asked.back()->request));
    }
    asked[gone]->token.cancel();  // complete when this returns: nobody waits, and nobody looks
    EXPECT_TRUE(asked[gone]->request.wait_for(0ns));
    EXPECT_EQ(asked[gone]->state.error, ErrorCode::kCancelled);
    EXPECT_EQ(asked[gone]->listener->heard, 1);
    Asked last(queue);
    EXPECT_TRUE(queue.push(last.request));
    for (std::size_t i = 0; i < 3; ++i) {
      if (i != gone) take(queue, asked[i]->request);
    }
    take(queue, last.request);
    EXPECT_EQ(queue.take(0).request, nullptr);
  }
}

TEST(RequestQueue, ACancelOfABatchLetsGoWhatNoWorkerHas) {
  RequestQueue queue(1);
  Asked batch(queue, 1000);
  ASSERT_TRUE(queue.push(batch.request));
  const RequestQueue::Turn turn = queue.take(0);
  batch.token.cancel();
  EXPECT_EQ(queue.waiting(), 0U);
  EXPECT_TRUE(batch.request.token().cancelled());
  EXPECT_FALSE(batch.request.wait_for(0ns));
  queue.end(batch.request, turn.end - turn.next);
  EXPECT_TRUE(batch.request.wait_for(0ns));
  EXPECT_EQ(batch.listener->heard, 1);
}

TEST(RequestQueue, OneThatIsCancelledBeforeItComesIsCompleteAtOnce) {
  RequestQueue queue(1);
  Asked asked(queue, 5);
  asked.token.cancel();
  ASSERT_TRUE(queue.push(asked.request));
  EXPECT_TRUE(asked.request.wait_for(0ns));
  EXPECT_EQ(asked.state.error, ErrorCode::kCancelled);
}

TEST(RequestQueue, ACancelWakesWhoWaits) {
  RequestQueue queue(1);
  Asked asked(queue);
  ASSERT_TRUE(queue.push(asked.request));
  std::thread canceller([&] { asked.token.cancel(); });
  asked.request.wait();
  canceller.join();
  EXPECT_EQ(asked.state.error, ErrorCode::kCancelled);
}

TEST(RequestQueue, ALateOneFailsBeforeAWorkerHasIt) {
  RequestQueue queue(1);
  Asked asked(queue, 1, Ticks{0});
  ASSERT_TRUE(queue.push(asked.request));
  asked.request.wait();
  EXPECT_EQ(asked.state.error, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST(RequestQueue, OneThatNobodyWaitsForIsLateWhenItIsTold) {
  RequestQueue queue(1);
  Asked asked(queue, 3);
  ASSERT_TRUE(queue.push(asked.request));
  asked.request.expire();
  EXPECT_TRUE(asked.request.wait_for(0ns));
  EXPECT_EQ(asked.state.error, ErrorCode::kDeadlineExceeded);
}

TEST(RequestQueue, WithoutQueriesItIsCompleteAtOnce) {
  RequestQueue queue(1);
  Asked asked(queue, 0);
  ASSERT_TRUE(queue.push(asked.request));
  EXPECT_TRUE(asked.request.wait_for(0ns));
}

TEST(RequestQueue, CountsTheWorkersThatTookSome) {
  RequestQueue queue(1);
  Asked asked(queue, 3);
  ASSERT_TRUE(queue.push(asked.request));
  for (const std::uint32_t worker : {0U, 5U, 5U}) {
    const RequestQueue::Turn turn = queue.take(worker);
    asked.request.add(10, 1);
    queue.end(asked.request, turn.end - turn.next);
  }
  asked.request.wait();
  EXPECT_EQ(asked.request.time().threads, 2U);
  EXPECT_DOUBLE_EQ(asked.request.time().cpu_us, 30);
  EXPECT_DOUBLE_EQ(asked.request.time().waiting_us, 3);
}

TEST(RequestQueue, CancelsAgainstEndsCompleteOnce) {
  for (int round = 0; round < 200; ++round) {
    RequestQueue queue(1);
    Asked asked(queue, 20);
    ASSERT_TRUE(queue.push(asked.request));
    std::thread worker([&] {
      for (RequestQueue::Turn turn = queue.take(0); turn.request != nullptr; turn = queue.take(0)) {
        queue.end(*turn.request, turn.end - turn.next);
      }
    });
    asked.token.cancel();
    worker.join();
    asked.request.wait();
    EXPECT_EQ(asked.listener->heard, 1);
  }
}

TEST(RequestQueue, WorkersEndWhenItIsStopped) {
  RequestQueue queue(1);
  Asked asked(queue);
  ASSERT_TRUE(queue.push(asked.request));
  EXPECT_TRUE(queue.wait_for_request());
  take(queue, asked.request);
  queue.stop();
  EXPECT_FALSE(queue.wait_for_request());
}

}  // namespace
}  // namespace tiervec::engine

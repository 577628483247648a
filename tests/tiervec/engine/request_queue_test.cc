#include <tiervec/engine/request_queue.h>

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::engine {
namespace {

struct Asked {
  CancelToken token;
  SearchState state;
  PoolRequest request{state, &token, kNever};
};

std::vector<std::unique_ptr<Asked>> pushed(RequestQueue& queue, int count) {
  std::vector<std::unique_ptr<Asked>> asked;
  for (int i = 0; i < count; ++i) {
    asked.push_back(std::make_unique<Asked>());
    EXPECT_TRUE(queue.push(asked.back()->request));
  }
  return asked;
}

TEST(RequestQueue, GivesInTheOrderThatTheyCame) {
  RequestQueue queue(3);
  const auto asked = pushed(queue, 3);
  EXPECT_EQ(queue.waiting(), 3U);
  for (const auto& each : asked) {
    EXPECT_EQ(queue.pop(), &each->request);
  }
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST(RequestQueue, RefusesWhatIsBeyondItsLimit) {
  RequestQueue queue(2);
  const auto asked = pushed(queue, 2);
  Asked more;
  EXPECT_FALSE(queue.push(more.request));
  EXPECT_EQ(queue.pop(), &asked[0]->request);
  EXPECT_TRUE(queue.push(more.request));
}

TEST(RequestQueue, LetsAnyThatIsCancelledGoAndKeepsTheOthers) {
  for (std::size_t gone = 0; gone < 3; ++gone) {
    RequestQueue queue(4);
    const auto asked = pushed(queue, 3);
    asked[gone]->token.cancel();
    queue.wait(asked[gone]->request);
    EXPECT_EQ(asked[gone]->state.error, ErrorCode::kCancelled);
    Asked last;
    EXPECT_TRUE(queue.push(last.request));
    for (std::size_t i = 0; i < 3; ++i) {
      if (i != gone) {
        EXPECT_EQ(queue.pop(), &asked[i]->request);
      }
    }
    EXPECT_EQ(queue.pop(), &last.request);
    EXPECT_EQ(queue.pop(), nullptr);
  }
}

TEST(RequestQueue, ALateOneFailsBeforeAWorkerHasIt) {
  RequestQueue queue(1);
  SearchState state;
  PoolRequest request(state, nullptr, Ticks{0});
  ASSERT_TRUE(queue.push(request));
  queue.wait(request);
  EXPECT_EQ(state.error, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST(RequestQueue, ACompleteOneIsNotWaitedFor) {
  RequestQueue queue(1);
  const auto asked = pushed(queue, 1);
  queue.pop()->complete();
  queue.wait(asked[0]->request);
  EXPECT_EQ(asked[0]->state.error, ErrorCode::kOk);
}

TEST(RequestQueue, WorkersEndWhenItIsStopped) {
  RequestQueue queue(1);
  const auto asked = pushed(queue, 1);
  EXPECT_TRUE(queue.wait_for_request());
  queue.stop();
  EXPECT_FALSE(queue.wait_for_request());
}

}  // namespace
}  // namespace tiervec::engine

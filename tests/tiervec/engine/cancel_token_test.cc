#include <tiervec/engine/cancel_token.h>

#include <array>

#include <gtest/gtest.h>

namespace tiervec::engine {
namespace {

class Counter final : public CancelToken::Watcher {
 public:
  int heard = 0;

 private:
  void cancelled() noexcept override { ++heard; }
};

TEST(CancelToken, TellsThoseThatWatchOnce) {
  for (std::size_t gone = 0; gone < 3; ++gone) {
    CancelToken token;
    std::array<Counter, 3> watchers;
    for (Counter& each : watchers) token.watch(each);
    token.unwatch(watchers[gone]);
    token.unwatch(watchers[gone]);
    token.cancel();
    token.cancel();
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(watchers[i].heard, i == gone ? 0 : 1);
    for (Counter& each : watchers) token.unwatch(each);
  }
}

TEST(CancelToken, TellsAWatcherThatComesLate) {
  CancelToken token;
  token.cancel();
  Counter late;
  token.watch(late);
  EXPECT_EQ(late.heard, 1);
  token.unwatch(late);
}

TEST(CancelToken, EveryCancelChangesTheCount) {
  CancelToken token;
  const std::uint64_t before = CancelToken::cancels();
  token.cancel();
  EXPECT_NE(CancelToken::cancels(), before);
}

}  // namespace
}  // namespace tiervec::engine

#include <tiervec/core/helper_thread.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tiervec {
namespace {

using namespace std::chrono_literals;

TEST(HelperThread, RunsBothPartsOnceAndWhatTheyWroteIsSeen) {
  HelperThread helper;
  int own = 0;
  int other = 0;
  for (int i = 1; i <= 20'000; ++i) {
    helper.run_both([&]() noexcept { ++own; }, [&]() noexcept { ++other; });
    ASSERT_EQ(own, i);
    ASSERT_EQ(other, i);
  }
}

TEST(HelperThread, ALongPartRunsThere) {
  HelperThread helper;
  std::atomic<bool> met{false};
  std::thread::id there;
  helper.run_both(
      [&]() noexcept {
        while (!met) std::this_thread::yield();  // for ever, if the other part waited for this one
      },
      [&]() noexcept {
        there = std::this_thread::get_id();
        met = true;
      });
  EXPECT_NE(there, std::this_thread::get_id());
}

TEST(HelperThread, AfterASleepItHelpsAgain) {
  HelperThread helper;
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(5ms);  // long after it stopped polling
    std::atomic<bool> met{false};
    helper.run_both(
        [&]() noexcept {
          while (!met) std::this_thread::yield();
        },
        [&]() noexcept { met = true; });
    EXPECT_TRUE(met);
  }
}

TEST(HelperThread, CountsItsTimeOnceAndDoesNotPollForEver) {
  HelperThread helper;
  std::atomic<bool> met{false};
  helper.run_both(
      [&]() noexcept {
        while (!met) std::this_thread::yield();
      },
      [&]() noexcept {
        std::this_thread::sleep_for(2ms);
        met = true;
      });
  const HelperThread::Time first = helper.take_time();
  EXPECT_GE(first.busy_ns, 2e6);
  EXPECT_GE(first.awake_ns, first.busy_ns);
  std::this_thread::sleep_for(50ms);
  const HelperThread::Time idle = helper.take_time();
  EXPECT_EQ(idle.busy_ns, 0);
  EXPECT_LT(idle.awake_ns, 40e6);
}

TEST(HelperThread, AForkedProcessWorksAloneAndEnds) {
  auto* const helper = new HelperThread;
  helper->run_both([]() noexcept {}, []() noexcept {});
  const pid_t child = fork();
  if (child == 0) {
    int parts = 0;
    helper->run_both([&]() noexcept { ++parts; }, [&]() noexcept { ++parts; });
    delete helper;
    _exit(parts == 2 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  delete helper;
}

}  // namespace
}  // namespace tiervec

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

constexpr auto kGiveUp = 60s;

/// Until it is true or the time is over; asleep, so that the helper gets a processor where others need them all.
void wait_until(const std::atomic<bool>& condition, std::chrono::microseconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (!condition && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(5us);
}

// In every second round `own` lets the helper begin: empty parts would nearly all be taken back.
TEST(HelperThread, RunsBothPartsOnceAndWhatTheyWroteIsSeen) {
  constexpr int kElsewhere = 100;
  HelperThread helper;
  const auto give_up = std::chrono::steady_clock::now() + kGiveUp;
  const std::thread::id here = std::this_thread::get_id();
  int own = 0;
  int other = 0;
  int elsewhere = 0;
  for (int i = 1; elsewhere < kElsewhere && std::chrono::steady_clock::now() < give_up; ++i) {
    std::atomic<bool> begun{false};
    helper.begin_call();
    helper.run_both(
        [&]() noexcept {
          ++own;
          if (i % 2 == 0) wait_until(begun, 200us);  // the helper may be asleep, and then does not come
        },
        [&]() noexcept {
          begun = true;
          ++other;
          if (std::this_thread::get_id() != here) ++elsewhere;
        });
    helper.end_call();
    ASSERT_EQ(own, i);
    ASSERT_EQ(other, i);
  }
  EXPECT_EQ(elsewhere, kElsewhere);
}

/// Calls that follow each other, each of so many parts, until the helper has done one. False: it never did.
bool helps(HelperThread& helper, int parts = 1) {
  const auto give_up = std::chrono::steady_clock::now() + kGiveUp;
  std::atomic<bool> there{false};
  const std::thread::id here = std::this_thread::get_id();
  while (!there && std::chrono::steady_clock::now() < give_up) {
    helper.begin_call();
    for (int part = 0; part < parts && !there; ++part) {
      helper.run_both([&]() noexcept { wait_until(there, 20us); },
                      [&]() noexcept {
                        if (std::this_thread::get_id() != here) there = true;
                      });
    }
    helper.end_call();
  }
  return there;
}

TEST(HelperThread, CallsThatFollowEachOtherAreHelped) {
  HelperThread helper;
  EXPECT_TRUE(helps(helper));
  std::this_thread::sleep_for(5ms);  // long after it stopped polling
  EXPECT_TRUE(helps(helper));
}

TEST(HelperThread, CallsThatTakeLongerThanItPollsAreHelped) {
  HelperThread helper;
  std::this_thread::sleep_for(5ms);
  EXPECT_TRUE(helps(helper, 50));  // 1 ms
}

/// Waits until it sleeps. False: it never came.
bool sleeps(const HelperThread& helper) {
  const auto give_up = std::chrono::steady_clock::now() + kGiveUp;
  while (!helper.asleep() && std::chrono::steady_clock::now() < give_up) std::this_thread::sleep_for(1ms);
  return helper.asleep();
}

TEST(HelperThread, CallsFarApartDoNotWakeIt) {
  HelperThread helper;
  EXPECT_TRUE(helps(helper));
  EXPECT_TRUE(sleeps(helper));
  const std::uint32_t wakes = helper.wakes();
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(3ms);
    int parts = 0;
    helper.begin_call();
    helper.run_both([&]() noexcept { ++parts; }, [&]() noexcept { ++parts; });
    helper.end_call();
    EXPECT_EQ(parts, 2);
  }
  EXPECT_EQ(helper.wakes(), wakes);
  EXPECT_TRUE(helper.asleep());
}

TEST(HelperThread, CountsItsTimeOnceAndDoesNotPollForEver) {
  HelperThread helper;
  EXPECT_TRUE(helps(helper));
  const auto give_up = std::chrono::steady_clock::now() + kGiveUp;
  HelperThread::Time all{};
  while ((all.cpu_ns == 0 || all.waiting_ns == 0) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(1ms);  // it counts its waiting when it stops polling
    const HelperThread::Time time = helper.take_time();
    all.cpu_ns += time.cpu_ns;
    all.waiting_ns += time.waiting_ns;
  }
  EXPECT_GT(all.cpu_ns, 0);
  EXPECT_GT(all.waiting_ns, 0);
  EXPECT_TRUE(sleeps(helper));
}

// A part that waits for something else than a processor takes none.
TEST(HelperThread, CountsProcessorTimeOfParts) {
  HelperThread helper;
  EXPECT_TRUE(helps(helper));
  const std::thread::id here = std::this_thread::get_id();
  bool there = false;
  while (!there) {
    (void)helper.take_time();
    helper.begin_call();
    helper.run_both([]() noexcept { std::this_thread::sleep_for(20us); },
                    [&]() noexcept {
                      there = std::this_thread::get_id() != here;
                      if (there) std::this_thread::sleep_for(300ms);
                    });
    helper.end_call();
  }
  EXPECT_LT(helper.take_time().cpu_ns, 200e6);
}

TEST(HelperThread, AForkedProcessWorksAloneAndEnds) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers do not carry their threads and locks over a fork";
#endif
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

// The C library gives a child's new thread the memory of a thread that only the parent has, and so its pthread_t.
TEST(HelperThread, AForkedProcessKeepsItsOwnThreads) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers do not carry their threads and locks over a fork";
#endif
  auto* const helper = new HelperThread;
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<bool> helper_is_gone{false};
    std::thread other([&] { helper_is_gone.wait(false); });
    delete helper;
    helper_is_gone = true;
    helper_is_gone.notify_one();
    other.join();  // throws when it was detached
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  delete helper;
}

}  // namespace
}  // namespace tiervec

#include <tiervec/core/thread.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include <gtest/gtest.h>

#include <tiervec/core/helper_thread.h>
#include <tiervec/core/parallel.h>

namespace tiervec {
namespace {

class ThreadLimit : public ::testing::Test {
 protected:
  void TearDown() override { Thread::allow_all_starts(); }
};

template <class Act>
void expect_refused(const Act& act) {
  try {
    act();
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kResourceExhausted);
    EXPECT_NE(std::string(error.what()).find("the system gives no more"), std::string::npos) << error.what();
  }
}

TEST_F(ThreadLimit, IsResourceExhausted) {
  Thread::allow_starts(1);
  Thread first("the first", [] {});
  expect_refused([] { const Thread second("the second", [] {}); });
  expect_refused([] { const HelperThread helper; });
}

TEST_F(ThreadLimit, FewerThreadsDoAllTheWork) {
  for (const long allowed : {0L, 1L, 2L}) {
    Thread::allow_starts(allowed);
    WorkMonitor monitor;
    std::atomic<std::size_t> sum{0};
    const unsigned worked = parallel_blocks(1000, 7, 8, &monitor, [&](std::size_t begin, std::size_t end, unsigned) {
      for (std::size_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(worked, static_cast<unsigned>(allowed) + 1);
    EXPECT_EQ(monitor.threads_refused, 7 - static_cast<unsigned>(allowed));
    EXPECT_EQ(sum, std::size_t{999} * 500);
  }
}

TEST_F(ThreadLimit, WithoutOneAllThreadsWork) {
  WorkMonitor monitor;
  EXPECT_EQ(parallel_blocks(10, 1, 3, &monitor, [](std::size_t, std::size_t, unsigned) {}), 3U);
  EXPECT_EQ(monitor.threads_refused, 0U);
}

TEST(Thread, AForkedProcessDoesNotJoinTheParents) {
  std::atomic<bool> over{false};
  Thread thread("a test", [&over] { over.wait(false); });
  const pid_t child = ::fork();
  if (child == 0) {
    const bool right = !thread.joinable();
    thread = Thread();
    ::_exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(thread.joinable());
  over = true;
  over.notify_all();
}

}  // namespace
}  // namespace tiervec

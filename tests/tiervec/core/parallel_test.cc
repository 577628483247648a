#include <tiervec/core/parallel.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/process_limits.h>

namespace tiervec {
namespace {

TEST(ParallelBlocks, EveryItemOnceInBlocksOfTheGivenSize) {
  for (const unsigned threads : {1U, 2U, 5U}) {
    for (const std::size_t count : {0UL, 1UL, 7UL, 64UL, 1000UL}) {
      std::vector<std::atomic<int>> seen(count);
      WorkMonitor monitor;
      parallel_blocks(count, 7, threads, &monitor, [&](std::size_t begin, std::size_t end, unsigned worker) {
        EXPECT_LT(begin, end);
        EXPECT_LE(end - begin, 7U);
        EXPECT_EQ(begin % 7, 0U);
        EXPECT_LT(worker, threads);
        for (std::size_t i = begin; i < end; ++i) ++seen[i];
      });
      for (const auto& times : seen) EXPECT_EQ(times, 1);
      EXPECT_EQ(monitor.done, count);
    }
  }
}

TEST(ParallelBlocks, OneThreadIsTheCallersOwnAndKeepsTheOrder) {
  std::size_t next = 0;
  parallel_blocks(100, 9, 1, nullptr, [&](std::size_t begin, std::size_t end, unsigned worker) {
    EXPECT_EQ(begin, next);
    EXPECT_EQ(worker, 0U);
    next = end;
  });
  EXPECT_EQ(next, 100U);
}

TEST(ParallelBlocks, TheFirstExceptionArrivesAndNoNewBlockIsTaken) {
  for (const unsigned threads : {1U, 3U}) {
    std::atomic<std::size_t> blocks{0};
    const auto run = [&] {
      parallel_blocks(1'000'000, 1, threads, nullptr, [&](std::size_t begin, std::size_t, unsigned) {
        ++blocks;
        if (begin == 10) throw std::runtime_error("block 10");
      });
    };
    try {
      run();
      FAIL() << "it should have thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "block 10");
    }
    EXPECT_LT(blocks, 1'000'000U);
  }
}

TEST(ParallelBlocks, EveryThreadMayThrow) {
  EXPECT_THROW(parallel_blocks(64, 1, 4, nullptr,
                               [](std::size_t, std::size_t, unsigned) { throw Error(ErrorCode::kInternal, "all"); }),
               Error);
}

TEST(ParallelBlocks, CancelEndsItWithinABlock) {
  WorkMonitor monitor;
  std::atomic<std::size_t> after{0};
  try {
    parallel_blocks(1'000'000, 1, 2, &monitor, [&](std::size_t begin, std::size_t, unsigned) {
      after += monitor.cancelled ? 1 : 0;
      if (begin == 5) monitor.cancelled = true;
    });
    FAIL() << "it should have thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
  EXPECT_LE(after, 2U);  // what a thread had begun already
  EXPECT_LT(monitor.done, 1'000'000U);
}

TEST(ParallelBlocks, ACancelFromAnotherThreadIsSeen) {
  WorkMonitor monitor;
  std::jthread other([&] {
    while (monitor.done == 0) std::this_thread::yield();
    monitor.cancelled = true;
  });
  EXPECT_THROW(parallel_blocks(std::size_t{1} << 40U, 1, 2, &monitor,
                               [](std::size_t, std::size_t, unsigned) { std::this_thread::yield(); }),
               Error);
}

TEST(ParallelBlocks, CancelledBeforeItBeganDoesNothing) {
  WorkMonitor monitor;
  monitor.cancelled = true;
  EXPECT_THROW(parallel_blocks(10, 1, 2, &monitor, [](std::size_t, std::size_t, unsigned) { FAIL(); }), Error);
}

TEST(ResolveThreads, ZeroIsWhatTheProcessMayUse) {
  EXPECT_EQ(resolve_threads(0), cpu_limit().threads());
  EXPECT_EQ(resolve_threads(7), 7U);
}

}  // namespace
}  // namespace tiervec

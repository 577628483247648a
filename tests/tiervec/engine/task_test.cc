#include <tiervec/engine/task.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "rdma/allocation_counter.h"

namespace tiervec::engine {
namespace {

using rdma::testing::allocation_count;

Task<int> number(int value) {
  co_return value;
}

Task<int> sum_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) {
    sum += co_await number(i);
  }
  co_return sum;
}

Task<int> depth_of(int n) {
  if (n == 0) {
    co_return 0;
  }
  co_return 1 + co_await depth_of(n - 1);
}

Task<void> store(Task<int> task, int& result) {
  result = co_await std::move(task);
}

int result_of(Task<int> task) {
  int result = -1;
  const Task<void> outer = store(std::move(task), result);
  outer.handle().resume();
  EXPECT_TRUE(outer.handle().done());
  outer.handle().promise().take();
  return result;
}

TEST(Task, IsMoveOnlyAndMustBeUsed) {
  static_assert(!std::is_copy_constructible_v<Task<int>>);
  static_assert(std::is_nothrow_move_constructible_v<Task<int>>);
  Task<int> empty;
  EXPECT_FALSE(empty);
  Task<int> first = number(3);
  Task<int> second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_EQ(result_of(std::move(second)), 3);
}

Task<void> note(bool& started, const std::shared_ptr<int> held) {
  started = true;
  (void)held;
  co_return;
}

TEST(Task, IsLazyAndFreesWhatItHolds) {
  bool started = false;
  const auto held = std::make_shared<int>(1);
  {
    const Task<void> task = note(started, held);
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_FALSE(started);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Task, AwaitsManyTasksInOneFrame) {
  EXPECT_EQ(result_of(sum_to(10'000)), 50'005'000);
}

TEST(Task, Nests) {
  EXPECT_EQ(result_of(depth_of(500)), 500);
}

Task<int> throwing(const char* message) {
  throw std::runtime_error(message);
  co_return 0;
}

Task<int> catching() {
  try {
    co_return co_await throwing("expected");
  } catch (const std::runtime_error& error) {
    co_return static_cast<int>(std::string(error.what()).size());
  }
}

TEST(Task, ExceptionsLeaveThroughAwait) {
  EXPECT_EQ(result_of(catching()), 8);
  EXPECT_THROW(result_of(throwing("unhandled")), std::runtime_error);
}

Task<std::unique_ptr<int>> make_box(int value) {
  co_return std::make_unique<int>(value);
}
Task<int> open_box() {
  co_return *co_await make_box(7);
}

TEST(Task, ResultsMayBeMoveOnly) {
  EXPECT_EQ(result_of(open_box()), 7);
}

TEST(FramePool, SteadyStateDoesNotAllocate) {
  EXPECT_EQ(result_of(sum_to(10)), 55);
  const std::uint64_t before = allocation_count;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(result_of(sum_to(10)), 55);
  }
  EXPECT_EQ(allocation_count, before);
}

TEST(FramePool, ReusesTheLastBlockOfItsClass) {
  void* first = FramePool::allocate(100);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0U);
  FramePool::release(first, 100);
  void* again = FramePool::allocate(FramePool::kClassBytes);
  EXPECT_EQ(again, first);
  void* other = FramePool::allocate(FramePool::kClassBytes + 1);
  EXPECT_NE(other, first);
  FramePool::release(again, FramePool::kClassBytes);
  FramePool::release(other, FramePool::kClassBytes + 1);
}

TEST(FramePool, TakesAnySize) {
  for (const std::size_t bytes : {std::size_t{1}, FramePool::kMaxPooledBytes, FramePool::kMaxPooledBytes + 1}) {
    void* block = FramePool::allocate(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignof(std::max_align_t), 0U);
    std::fill_n(static_cast<char*>(block), bytes, 'x');
    FramePool::release(block, bytes);
  }
}

TEST(FramePool, KeepsABoundedNumberOfBlocks) {
  std::vector<void*> blocks(FramePool::kKeptPerClass + 10);
  for (void*& block : blocks) {
    block = FramePool::allocate(2000);
  }
  for (void* block : blocks) {
    FramePool::release(block, 2000);
  }
  const std::uint64_t before = allocation_count;
  for (void*& block : blocks) {
    block = FramePool::allocate(2000);
  }
  EXPECT_EQ(allocation_count - before, 10U);
  for (void* block : blocks) {
    FramePool::release(block, 2000);
  }
}

TEST(FramePool, FramesMayEndOnAnotherThread) {
  for (int i = 0; i < 10; ++i) {
    Task<int> made;
    std::jthread([&made] { made = number(4); }).join();
    std::jthread([&made] { EXPECT_EQ(result_of(std::move(made)), 4); }).join();
  }
}

}  // namespace
}  // namespace tiervec::engine

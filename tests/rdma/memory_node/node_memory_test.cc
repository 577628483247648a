#include <tiervec/rdma/node_memory.h>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::rdma {
namespace {

constexpr std::uint64_t kOneMiB = 1U << 20U;

TEST(NodeMemoryTest, IsZeroedAlignedAndWritable) {
  NodeMemory memory(3 * kOneMiB + 5, false);
  EXPECT_EQ(memory.size_bytes(), 3 * kOneMiB + 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % (2 * kOneMiB), 0U);
  EXPECT_TRUE(
      std::all_of(memory.data(), memory.data() + memory.size_bytes(), [](std::byte b) { return b == std::byte{0}; }));
  memory.data()[memory.size_bytes() - 1] = std::byte{1};
  EXPECT_FALSE(memory.locked()) << "nobody asked for it";
}

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t pages = 0;
  std::uint64_t resident = 0;
  file >> pages >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// A node counts whole small pages against its capacity: the system must not take more, not even a huge page of padding.
TEST(NodeMemoryTest, TakesNoMoreThanItsPages) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const std::uint64_t size : {std::uint64_t{1}, page, page + 1, 2 * kOneMiB - 1, 2 * kOneMiB, 2 * kOneMiB + 1}) {
    const NodeMemory memory(size, false);
    EXPECT_EQ(memory.mapped_bytes(), (size + page - 1) / page * page);
    EXPECT_TRUE(memory.mapped_bytes() >= 2 * kOneMiB || !memory.huge_pages()) << size;
  }
  const std::uint64_t before = resident_bytes();
  std::vector<std::unique_ptr<NodeMemory>> held;
  for (int i = 0; i < 100; ++i) {
    held.push_back(std::make_unique<NodeMemory>(i % 2 == 0 ? 1 : 2 * kOneMiB + 1, true));
    std::memset(held.back()->data(), 1, held.back()->size_bytes());
  }
  const std::uint64_t taken = resident_bytes() - before;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they have memory of their own
  EXPECT_LE(taken, 50 * (2 * kOneMiB + page) + 50 * page + 4 * kOneMiB);
#endif
  EXPECT_GE(taken, 100 * kOneMiB);
}

TEST(NodeMemoryTest, SaysWhetherItCouldLock) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before), 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers do not lock memory";
#endif
  if (before.rlim_cur >= 4 * kOneMiB) {
    EXPECT_TRUE(NodeMemory(kOneMiB, true).locked());
  }
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root may lock whatever RLIMIT_MEMLOCK says";
  }
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &none), 0);
  EXPECT_FALSE(NodeMemory(kOneMiB, true).locked());
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

TEST(NodeMemoryTest, RefusesNothingAndTooMuch) {
  const auto code_of = [](std::uint64_t bytes) {
    try {
      const NodeMemory memory(bytes, false);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kOk;
  };
  EXPECT_EQ(code_of(0), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of(std::uint64_t{1} << 50U), ErrorCode::kResourceExhausted);
  EXPECT_EQ(code_of(~std::uint64_t{0}), ErrorCode::kResourceExhausted);
}

}  // namespace
}  // namespace tiervec::rdma

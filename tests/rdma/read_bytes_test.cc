#include <tiervec/rdma/read_bytes.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tiervec/rdma/dram_tier.h>

namespace tiervec::rdma {
namespace {

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  }
  return bytes;
}

TEST(ReadBytes, CopiesAnyRange) {
  const std::vector<std::byte> bytes = pattern(300'000);
  const auto tier = DramTier::from_bytes(bytes);
  const std::vector<std::vector<std::uint64_t>> ranges = {{0, 300'000}, {0, 0},           {299'999, 1},
                                                          {300'000, 0}, {65'535, 65'537}, {1, 200'000}};
  for (const auto& range : ranges) {
    const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(range[0]);
    const std::vector<std::byte> expected(first, first + static_cast<std::ptrdiff_t>(range[1]));
    EXPECT_EQ(read_bytes(*tier, range[0], range[1]), expected);
  }
}

TEST(ReadBytes, RefusesWhatIsOutside) {
  const auto tier = DramTier::from_bytes(pattern(100));
  const std::vector<std::vector<std::uint64_t>> ranges = {
      {101, 0}, {0, 101}, {100, 1}, {UINT64_MAX, 1}, {1, UINT64_MAX}};
  for (const auto& range : ranges) {
    try {
      (void)read_bytes(*tier, range[0], range[1]);
      ADD_FAILURE() << range[0] << ", " << range[1];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace tiervec::rdma

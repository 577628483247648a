#include "../../../rdma/src/ssd/sectors.h"

#include <algorithm>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace tiervec::rdma::ssd {
namespace {

TEST(Sectors, CoverWhatWasAskedForAndNoMore) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    const Read read{random() >> (random() % 63 + 1), static_cast<std::uint32_t>(1 + random() % (64 * 1024))};
    const SectorRange range = covering(read);
    ASSERT_EQ(range.offset % kSectorBytes, 0U);
    ASSERT_EQ(range.bytes % kSectorBytes, 0U);
    ASSERT_EQ(range.offset + range.skip, read.offset);
    ASSERT_LT(range.skip, kSectorBytes);
    ASSERT_GE(range.bytes, range.skip + read.length);
    ASSERT_LT(range.bytes, range.skip + read.length + kSectorBytes);
    ASSERT_LE(range.bytes, most_covering(read.length));
  }
}

TEST(Sectors, EdgesOfOne) {
  EXPECT_EQ(covering({0, 4096}).bytes, 4096U);
  EXPECT_EQ(covering({0, 4097}).bytes, 8192U);
  EXPECT_EQ(covering({4095, 1}).bytes, 4096U);
  EXPECT_EQ(covering({4095, 2}).bytes, 8192U);
  EXPECT_EQ(covering({8192, 1}).offset, 8192U);
}

TEST(Sectors, RoomIsWhatTheWorstPlaceNeeds) {
  for (const std::uint32_t length : {1U, 2U, 4095U, 4096U, 4097U, 8192U, 65536U}) {
    std::uint32_t most = 0;
    for (std::uint32_t at = 0; at < kSectorBytes; ++at) {
      most = std::max(most, covering({at, length}).bytes);
    }
    EXPECT_EQ(most_covering(length), most) << length;
  }
  EXPECT_EQ(most_covering(std::numeric_limits<std::uint32_t>::max()), (std::uint64_t{1} << 32U) + kSectorBytes);
}

}  // namespace
}  // namespace tiervec::rdma::ssd

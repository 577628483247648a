#include <tiervec/cluster_index/packed_integers.h>

#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "cluster_index/small_clusters.h"

namespace tiervec::cluster_index {
namespace {

TEST(PackedIntegers, ReadWhatWasPacked) {
  std::mt19937_64 random(4);
  for (const std::uint32_t width : {1U, 7U, 20U, 31U, 55U, 56U, 64U}) {
    std::vector<std::uint64_t> values(100);
    for (auto& value : values) value = random() & (~std::uint64_t{0} >> (64 - width));
    const auto bits = testing::pack_integers(values, width);
    const PackedIntegers packed{bits.data(), width, values.size()};
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(packed[i], values[i]);
  }
}

}  // namespace
}  // namespace tiervec::cluster_index

#include <tiervec/core/magnitude.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tiervec {
namespace {

TEST(LargestMagnitude, IsThatOfTheLargestValueOfEitherSign) {
  const std::vector<float> values = {0.5F, -3.25F, 2, -0.0F, std::numeric_limits<float>::denorm_min()};
  EXPECT_EQ(largest_magnitude(values.data(), values.size()), 3.25F);
  EXPECT_EQ(largest_magnitude(values.data(), 1), 0.5F);
  EXPECT_EQ(largest_magnitude(values.data(), 0), 0);
}

TEST(LargestMagnitude, TellsInfinityAndNanAtAnyPlace) {
  for (std::size_t place = 0; place < 70; ++place) {
    std::vector<float> values(70, std::numeric_limits<float>::max());
    EXPECT_EQ(largest_magnitude(values.data(), values.size()), std::numeric_limits<float>::max());
    values[place] = -std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(largest_magnitude(values.data(), values.size())));
    values[69 - place] = -std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(largest_magnitude(values.data(), values.size())));
  }
}

}  // namespace
}  // namespace tiervec

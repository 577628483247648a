#include <tiervec/core/codes/fast_rotation.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

#include "tiervec/core/simd_levels.h"

namespace tiervec::codes {
namespace {

constexpr std::size_t kDims[] = {16, 17, 31, 32, 33, 48, 100, 257, 384, 768, 1000, 1024, 1536, 3072};

std::vector<float> normal_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

class FastRotationTest : public ::testing::TestWithParam<SimdLevel> {};

TEST_P(FastRotationTest, IsTheSameBitByBitAtEveryLevel) {
  for (const std::size_t dim : kDims) {
    std::vector<float> expected = normal_numbers(dim, 1);
    std::vector<float> found = expected;
    FastRotation(dim, 7, SimdLevel::kPortable).apply(expected.data());
    FastRotation(dim, 7, GetParam()).apply(found.data());
    ASSERT_EQ(found, expected) << dim;
  }
}

TEST_P(FastRotationTest, KeepsInnerProductsAndIsReverted) {
  for (const std::size_t dim : kDims) {
    const FastRotation rotation(dim, 7, GetParam());
    const std::vector<float> a = normal_numbers(dim, 1);
    const std::vector<float> b = normal_numbers(dim, 2);
    std::vector<float> x = a;
    std::vector<float> y = b;
    rotation.apply(x.data());
    rotation.apply(y.data());
    const double tolerance = 1e-5 * static_cast<double>(dim);
    ASSERT_NEAR(dot(x, y), dot(a, b), tolerance) << dim;
    ASSERT_NEAR(dot(x, x), dot(a, a), tolerance) << dim;
    rotation.revert(x.data());
    for (std::size_t i = 0; i < dim; ++i) ASSERT_NEAR(x[i], a[i], 1e-5) << dim;
  }
}

// One coordinate is the worst: it has to reach all.
TEST(FastRotation, SpreadsOneCoordinateOverAll) {
  for (const std::size_t dim : kDims) {
    const FastRotation rotation(dim, 7);
    for (const std::size_t from : {std::size_t{0}, dim / 3, dim / 2, dim - 1}) {
      std::vector<float> x(dim, 0.0F);
      x[from] = std::sqrt(static_cast<float>(dim));
      rotation.apply(x.data());
      float largest = 0;
      for (const float value : x) largest = std::max(largest, std::fabs(value));
      EXPECT_LT(largest, 6) << dim << ", from " << from;
    }
  }
}

TEST(FastRotation, OtherSeedsAreOtherRotations) {
  std::vector<float> x = normal_numbers(64, 1);
  std::vector<float> y = x;
  FastRotation(64, 1).apply(x.data());
  FastRotation(64, 2).apply(y.data());
  EXPECT_NE(x, y);
}

TEST(FastRotation, TooFewDimensionsAreRefused) {
  EXPECT_THROW(FastRotation(15, 1), Error);
}

TIERVEC_ON_EVERY_SIMD_LEVEL(FastRotationTest);

}  // namespace
}  // namespace tiervec::codes

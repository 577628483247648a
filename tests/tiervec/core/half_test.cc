#include <tiervec/core/half.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

constexpr std::uint32_t kHalves = 1U << 16U;
constexpr std::uint16_t kInfinity = 0x7c00;

bool is_nan(std::uint16_t half) {
  return (half & 0x7fffU) > kInfinity;
}

/// By the definition of binary16: sign, 5 bits of exponent, 10 of mantissa.
double value_of(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const double mantissa = half & 0x3ff;
  const double sign = (half & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return sign * (mantissa == 0 ? HUGE_VAL : std::nan(""));
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

/// Among all halves of the same sign, the one nearest to `value`; of two the even one.
std::uint16_t nearest(float value) {
  std::uint16_t low = 0;
  std::uint16_t high = kInfinity;
  const double magnitude = std::fabs(static_cast<double>(value));
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (value_of(middle) <= magnitude ? low : high) = middle;
  }
  // The step above the largest finite half is where the next power of two would be.
  const double above = high == kInfinity ? 65536.0 : value_of(high);
  const double to_low = magnitude - value_of(low);
  const double to_high = above - magnitude;
  const bool up = to_high < to_low || (to_high == to_low && low % 2 == 1);
  return static_cast<std::uint16_t>((up ? high : low) | (std::signbit(value) ? 0x8000U : 0U));
}

TEST(Half, EveryHalfHasItsValue) {
  for (std::uint32_t bits = 0; bits < kHalves; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    if (is_nan(half)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(value), value_of(half)) << bits;
      EXPECT_EQ(std::signbit(value), (bits & 0x8000U) != 0) << bits;
    }
  }
}

TEST(Half, EveryHalfComesBack) {
  for (std::uint32_t bits = 0; bits < kHalves; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const std::uint16_t back = float_to_half(half_to_float(half));
    if (is_nan(half)) {
      EXPECT_TRUE(is_nan(back)) << bits;
    } else {
      EXPECT_EQ(back, half);
    }
  }
}

TEST(Half, MidpointsRoundToEvenAndTheirNeighboursToTheNearest) {
  for (std::uint16_t half = 0; half < kInfinity; ++half) {
    const double above = half + 1 == kInfinity ? 65536.0 : value_of(static_cast<std::uint16_t>(half + 1));
    const auto middle = static_cast<float>((value_of(half) + above) / 2);
    for (const float value : {middle, std::nextafterf(middle, 0), std::nextafterf(middle, HUGE_VALF)}) {
      EXPECT_EQ(float_to_half(value), nearest(value)) << value;
      EXPECT_EQ(float_to_half(-value), nearest(-value)) << -value;
    }
  }
}

TEST(Half, AnyFloatRoundsToTheNearest) {
  std::mt19937 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) {
      EXPECT_TRUE(is_nan(float_to_half(value)));
    } else {
      ASSERT_EQ(float_to_half(value), nearest(value)) << value;
    }
  }
}

TEST(Half, TheEndsOfTheRange) {
  EXPECT_EQ(float_to_half(65504.0F), 0x7bff);
  EXPECT_EQ(float_to_half(65519.99F), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0F), kInfinity);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(float_to_half(0x1p-24F), 1);
  EXPECT_EQ(float_to_half(0x1p-25F), 0);
  EXPECT_EQ(float_to_half(-0.0F), 0x8000);
}

}  // namespace
}  // namespace tiervec

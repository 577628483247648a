#include <tiervec/core/parse_number.h>

#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

namespace tiervec {
namespace {

TEST(ParseNumber, TakesTheWholeText) {
  EXPECT_EQ(parse_number<unsigned>("17"), 17U);
  EXPECT_EQ(parse_number<int>("-3"), -3);
  EXPECT_EQ(parse_number<double>("1.5e3"), 1500.0);
  EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
}

TEST(ParseNumber, RefusesEverythingElse) {
  for (const char* text :
       {"", " ", "max", " 7", "7 ", "7\n", "12 kB", "1,5", "0x10", "+1", "-1", "18446744073709551616"}) {
    EXPECT_FALSE(parse_number<std::uint64_t>(text).has_value()) << text;
  }
  EXPECT_FALSE(parse_number<std::uint8_t>("256").has_value());
  EXPECT_FALSE(parse_number<double>("1e999").has_value());
}

TEST(TakeNumber, LeavesWhatFollows) {
  std::string_view text = "150000 100000 x";
  EXPECT_EQ(take_number<int>(text), 150000);
  EXPECT_EQ(take_number<int>(text), 100000);
  EXPECT_FALSE(take_number<int>(text).has_value());
  EXPECT_EQ(text, " x") << "unchanged";
}

}  // namespace
}  // namespace tiervec

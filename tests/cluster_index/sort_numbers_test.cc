#include "../../cluster_index/src/sort_numbers.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::cluster_index {
namespace {

TEST(SortNumbers, GivesWhatComparingGives) {
  std::mt19937_64 random(1);
  for (const unsigned bits : {1U, 7U, 8U, 9U, 16U, 20U, 24U, 31U, 32U}) {
    for (const std::size_t count : {0U, 1U, 2U, 63U, 64U, 65U, 257U, 5000U}) {
      std::vector<std::uint32_t> numbers(count);
      for (std::uint32_t& number : numbers) number = static_cast<std::uint32_t>(random() >> (64 - bits));
      std::vector<std::uint32_t> expected = numbers;
      std::sort(expected.begin(), expected.end());
      std::vector<std::uint32_t> spare(count);
      sort_numbers(numbers.data(), count, bits, spare.data());
      EXPECT_EQ(numbers, expected) << bits << " bits, " << count << " numbers";
    }
  }
}

TEST(SortNumbers, EqualAndSortedNumbersStayAsTheyAre) {
  std::vector<std::uint32_t> spare(300);
  std::vector<std::uint32_t> equal(300, 77);
  sort_numbers(equal.data(), equal.size(), 20, spare.data());
  EXPECT_EQ(equal, std::vector<std::uint32_t>(300, 77));
  std::vector<std::uint32_t> sorted(300);
  for (std::uint32_t i = 0; i < 300; ++i) sorted[i] = i * 3001;
  const std::vector<std::uint32_t> expected = sorted;
  sort_numbers(sorted.data(), sorted.size(), 20, spare.data());
  EXPECT_EQ(sorted, expected);
}

}  // namespace
}  // namespace tiervec::cluster_index

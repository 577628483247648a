#include <tiervec/engine/row_filter.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/core/status.h>

namespace tiervec::engine {
namespace {

std::vector<std::uint64_t> words_of(const std::vector<bool>& mask) {
  std::vector<std::uint64_t> words((mask.size() + 63) / 64);
  for (std::size_t row = 0; row < mask.size(); ++row) {
    if (mask[row]) words[row / 64] |= std::uint64_t{1} << (row % 64);
  }
  return words;
}

std::vector<bool> some_mask(std::uint32_t rows, double share, unsigned seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution admits(share);
  std::vector<bool> mask(rows);
  for (std::uint32_t row = 0; row < rows; ++row) mask[row] = admits(random);
  return mask;
}

TEST(RowFilter, AdmitsCountsAndWalksWhatItsBitsSay) {
  for (const std::uint32_t rows : {0U, 1U, 15U, 63U, 64U, 65U, 1000U}) {
    for (const double share : {0.0, 0.03, 0.5, 1.0}) {
      const std::vector<bool> mask = some_mask(rows, share, rows);
      const RowFilter filter(rows, words_of(mask));
      std::vector<std::uint32_t> admitted;
      for (std::uint32_t row = 0; row < rows; ++row) {
        ASSERT_EQ(filter.admits(row), mask[row]);
        if (row % 16 == 0) {
          std::uint32_t sixteen = 0;
          for (std::uint32_t i = row; i < std::min(rows, row + 16); ++i) sixteen |= std::uint32_t{mask[i]} << (i - row);
          ASSERT_EQ(filter.sixteen(row), sixteen);
        }
        if (mask[row]) admitted.push_back(row);
      }
      EXPECT_EQ(filter.matching(), admitted.size());
      for (const std::uint32_t most : {1U, 7U, 64U, 2000U}) {
        std::vector<std::uint32_t> taken(admitted.size() + most);
        std::uint32_t count = 0;
        std::uint32_t row = 0;
        while (const std::uint32_t more = filter.take(row, taken.data() + count, most)) {
          ASSERT_LE(more, most);
          count += more;
        }
        taken.resize(count);
        EXPECT_EQ(taken, admitted) << rows << " rows, at most " << most;
      }
    }
  }
}

TEST(RowFilter, FindsTheNextRowOfEitherKind) {
  const std::vector<bool> mask = some_mask(300, 0.2, 3);
  const RowFilter filter(300, words_of(mask));
  for (std::uint32_t from = 0; from <= 300; from += 7) {
    for (const std::uint32_t end : {from, std::min(300U, from + 5), 300U}) {
      for (const bool admitted : {false, true}) {
        std::uint32_t expected = from;
        while (expected < end && mask[expected] != admitted) ++expected;
        EXPECT_EQ(filter.next(from, end, admitted), expected) << from << " to " << end;
      }
    }
  }
}

TEST(RowFilter, RefusesOtherWordsThanItsRowsTake) {
  const auto message_of = [](std::uint32_t rows, std::vector<std::uint64_t> words) {
    try {
      const RowFilter filter(rows, std::move(words));
      return std::string("none");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return std::string(error.what());
    }
  };
  EXPECT_EQ(message_of(65, {0}), "a filter of 65 rows takes 2 words of 64 bits, not 1");
  EXPECT_EQ(message_of(0, {0}), "a filter of 0 rows takes 0 words of 64 bits, not 1");
  EXPECT_EQ(message_of(65, {0, 2}), "a filter of 65 rows admits rows behind them");
  EXPECT_EQ(message_of(65, {0, 1}), "none");
}

}  // namespace
}  // namespace tiervec::engine

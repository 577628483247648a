#include "../../graph_index/src/met_filter.h"

#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::graph_index {
namespace {

TEST(MetFilter, RemembersTheLastOnes) {
  MetFilter filter;
  filter.reserve(1);
  filter.clear();
  for (std::uint32_t vertex = 1; vertex < 5000; vertex += 7) {
    EXPECT_TRUE(filter.add(vertex));
    EXPECT_FALSE(filter.add(vertex));
  }
}

TEST(MetFilter, NoVertexIsTakenForMetInAnEmptyFilter) {
  // One that were could never be found by any search.
  for (const std::size_t expected : {std::size_t{1}, std::size_t{1} << 16U}) {
    MetFilter filter;
    filter.reserve(expected);
    const std::uint32_t vertices = expected == 1 ? 300'000 : 20'000;
    std::mt19937 random(1);
    for (std::uint32_t i = 0; i < vertices; ++i) {
      filter.clear();
      const std::uint32_t vertex = expected == 1 ? i : static_cast<std::uint32_t>(random() % 1'000'000);
      ASSERT_TRUE(filter.add(vertex)) << vertex;
    }
  }
}

TEST(MetFilter, NeverTakesANewVertexForAMetOne) {
  std::mt19937 random(2);
  for (const std::uint32_t universe : {3000U, 1'000'000U, 20'000'000U}) {
    for (const std::size_t expected : {std::size_t{100}, std::size_t{20'000}, std::size_t{1} << 20U}) {
      MetFilter filter;
      filter.reserve(expected);
      for (int query = 0; query < 5; ++query) {
        filter.clear();
        std::set<std::uint32_t> met;
        for (int i = 0; i < 20'000; ++i) {
          const auto vertex = static_cast<std::uint32_t>(random() % universe);
          const bool is_new = met.insert(vertex).second;
          if (is_new) {
            ASSERT_TRUE(filter.add(vertex)) << vertex << " of " << universe;
          } else {
            (void)filter.add(vertex);
          }
        }
      }
    }
  }
}

TEST(MetFilter, ForgetsLittleOfWhatItWasSizedFor) {
  MetFilter filter;
  filter.reserve(4000);
  filter.clear();
  std::mt19937 random(3);
  std::vector<std::uint32_t> vertices(1000);
  for (auto& vertex : vertices) filter.add(vertex = static_cast<std::uint32_t>(random() % 1'000'000));
  std::size_t forgotten = 0;
  for (const auto vertex : vertices) forgotten += filter.add(vertex) ? 1U : 0U;
  EXPECT_LT(forgotten, 300U);
}

}  // namespace
}  // namespace tiervec::graph_index

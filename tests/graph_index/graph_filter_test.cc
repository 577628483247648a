#include <tiervec/graph_index/graph_searcher.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>

#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using engine::FilterPlan;
using engine::RowFilter;
using testing::clustered;
using testing::exact;
using testing::Found;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

constexpr std::uint32_t kQueries = 40;
constexpr std::uint32_t kK = 10;

RowFilter filter_of(std::uint32_t rows, const std::function<bool(std::uint32_t)>& admits) {
  std::vector<std::uint64_t> words((rows + 63) / 64);
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (admits(row)) words[row / 64] |= std::uint64_t{1} << (row % 64);
  }
  return {rows, std::move(words)};
}

std::vector<float> queries_of(const SmallIndex& index) {
  std::vector<float> queries = clustered(index.options.count + kQueries, index.options.dim, 17);
  return {queries.end() - static_cast<std::ptrdiff_t>(std::size_t{kQueries} * index.options.dim), queries.end()};
}

/// The share of the nearest admitted vertices that were found; checks that there are min(k, matching) of them, apart.
double recall_of(const SmallIndex& index, const Found& found, const Found& truth, const RowFilter& filter) {
  const std::uint32_t expected = std::min(kK, filter.matching());
  std::size_t hits = 0;
  for (std::size_t q = 0; q < kQueries; ++q) {
    const auto begin = found.ids.begin() + static_cast<std::ptrdiff_t>(q * kK);
    std::vector<std::int64_t> nearest;
    for (std::size_t i = 0; nearest.size() < expected; ++i) {
      const std::int64_t id = truth.ids[q * index.options.count + i];
      if (filter.admits(static_cast<std::uint32_t>(id))) nearest.push_back(id);
    }
    for (std::uint32_t i = 0; i < kK; ++i) {
      if (i >= expected) {
        EXPECT_EQ(begin[i], -1);
        EXPECT_EQ(found.distances[q * kK + i], std::numeric_limits<float>::infinity());
        continue;
      }
      EXPECT_TRUE(begin[i] >= 0 && filter.admits(static_cast<std::uint32_t>(begin[i])));
      EXPECT_EQ(std::count(begin, begin + expected, begin[i]), 1);
      hits += static_cast<std::size_t>(std::count(nearest.begin(), nearest.end(), begin[i]));
    }
  }
  return expected == 0 ? 1 : static_cast<double>(hits) / (kQueries * expected);
}

TEST(GraphFilter, FindsTheNearestOfWhatMatchesInEveryLayout) {
  for (const RecordForm form : {RecordForm::kPacked, RecordForm::kPlain, RecordForm::kSectors}) {
    SmallIndexOptions options;
    options.form = form;
    options.count = 4000;
    const SmallIndex index(options);
    GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
    const auto queries = queries_of(index);
    const Found truth = exact(index, queries, options.count);
    const std::uint32_t n = options.count;
    for (const auto& filter :
         {filter_of(n, [](auto) { return true; }), filter_of(n, [](auto r) { return r % 4 != 0; }),
          filter_of(n, [](auto r) { return r % 10 == 3; }), filter_of(n, [](auto r) { return r < 4; }),
          filter_of(n, [n](auto r) { return r == n - 1; }), filter_of(n, [](auto) { return false; })}) {
      for (const std::uint32_t list : {10U, 60U}) {
        for (const bool pipeline : {true, false}) {
          SearchRequest request;
          request.parameters = {
              .k = kK, .search_list = list, .stop_margin = list == 60 ? 0.0F : 0.2F, .pipeline = pipeline};
          request.filter = &filter;
          request.threads = pipeline ? 2 : 1;
          const Found found = search(searcher, queries, request);
          EXPECT_GE(recall_of(index, found, truth, filter), list == 60 ? 0.97 : 0.8) << filter.matching();
        }
      }
    }
  }
}

TEST(GraphFilter, FewMatchingVerticesAreScoredOneByOneAndManyAreMetOnTheWay) {
  const SmallIndex index;
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const std::uint32_t n = index.options.count;
  const SearchParameters parameters{.k = kK, .search_list = 10};
  EXPECT_EQ(searcher.plan(filter_of(n, [](auto) { return false; }), parameters), FilterPlan::kEmpty);
  const RowFilter few = filter_of(n, [](auto r) { return r % 20 == 0; });
  EXPECT_EQ(searcher.plan(few, parameters), FilterPlan::kRows);
  const auto queries = queries_of(index);
  SearchRequest request;
  request.parameters = parameters;
  request.filter = &few;
  for (const engine::QueryCost& cost : search(searcher, queries, request).costs) {
    EXPECT_EQ(cost.code_distances, few.matching());
    EXPECT_EQ(cost.reads, parameters.search_list);
    EXPECT_EQ(cost.rounds, 1U);
    EXPECT_EQ(cost.rescans, 0U);
  }
}

// All that matches lies away from the queries: the walk meets too little of it.
TEST(GraphFilter, AWalkThatMeetsTooLittleLooksAtAllThatMatches) {
  SmallIndexOptions options;
  options.count = 6000;
  const SmallIndex index(options);
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const auto queries = queries_of(index);
  const Found truth = exact(index, queries, options.count);
  std::vector<bool> is_near(options.count);
  for (std::size_t i = 0; i < options.count / 4; ++i) is_near[static_cast<std::size_t>(truth.ids[i])] = true;
  const RowFilter filter = filter_of(options.count, [&](auto r) { return !is_near[r]; });
  SearchRequest request;
  request.count = 1;
  request.parameters = {.k = kK, .search_list = 10};
  request.filter = &filter;
  ASSERT_EQ(searcher.plan(filter, request.parameters), FilterPlan::kSearch);
  const std::span<const float> first(queries.data(), options.dim);
  const Found found = search(searcher, first, request);
  EXPECT_EQ(found.costs[0].rescans, 1U);
  EXPECT_GE(found.costs[0].code_distances, filter.matching());
  std::size_t hits = 0;
  for (std::uint32_t i = 0; i < kK; ++i) {
    const auto begin = truth.ids.begin() + options.count / 4;
    hits += static_cast<std::size_t>(std::count(begin, begin + kK, found.ids[i]));
  }
  EXPECT_GE(hits, 8U);
}

TEST(GraphFilter, AFilterOfAnotherIndexIsRefused) {
  const SmallIndex index;
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const RowFilter other = filter_of(index.options.count + 1, [](auto) { return true; });
  SearchRequest request;
  request.filter = &other;
  try {
    (void)search(searcher, queries_of(index), request);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    const std::string n = std::to_string(index.options.count);
    EXPECT_EQ(error.what(), "the filter is of " + std::to_string(other.rows()) + " rows, and the index has " + n);
  }
}

}  // namespace
}  // namespace tiervec::graph_index

#include <tiervec/cluster_index/cluster_searcher.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster_index/small_clusters.h"

namespace tiervec::cluster_index {
namespace {

using engine::FilterPlan;
using engine::RowFilter;
using testing::dram;
using testing::error_of;
using testing::exact;
using testing::Found;
using testing::kLayouts;
using testing::of;
using testing::search;
using testing::SmallClusters;
using testing::SmallClustersOptions;
using testing::some_queries;
using testing::with;

constexpr std::uint32_t kQueries = 40;
constexpr std::uint32_t kK = 10;

using RowRule = std::function<bool(std::int64_t)>;

/// Positions of the rows that a rule admits.
RowFilter filter_of(const SmallClusters& index, const RowRule& admits) {
  const PackedIntegers ids = index.part().ids;
  std::vector<std::uint64_t> words((index.options.count + 63) / 64);
  for (std::uint32_t position = 0; position < index.options.count; ++position) {
    if (admits(static_cast<std::int64_t>(ids[position]))) words[position / 64] |= std::uint64_t{1} << (position % 64);
  }
  return {index.options.count, std::move(words)};
}

double recall_of(const SmallClusters& index, const Found& found, const Found& truth, const RowRule& admits,
                 std::uint32_t matching) {
  const std::uint32_t expected = std::min(kK, matching);
  std::size_t hits = 0;
  for (std::size_t q = 0; q < kQueries; ++q) {
    const auto begin = found.ids.begin() + static_cast<std::ptrdiff_t>(q * kK);
    std::vector<std::int64_t> nearest;
    for (std::size_t i = 0; nearest.size() < expected; ++i) {
      const std::int64_t id = truth.ids[q * index.options.count + i];
      if (admits(id)) nearest.push_back(id);
    }
    for (std::uint32_t i = 0; i < kK; ++i) {
      if (i >= expected) {
        EXPECT_EQ(begin[i], -1);
        continue;
      }
      EXPECT_TRUE(begin[i] >= 0 && admits(begin[i]));
      EXPECT_EQ(std::count(begin, begin + expected, begin[i]), 1);
      hits += static_cast<std::size_t>(std::count(nearest.begin(), nearest.end(), begin[i]));
    }
  }
  return expected == 0 ? 1 : static_cast<double>(hits) / (kQueries * expected);
}

const RowRule kRules[] = {[](std::int64_t) { return true; },
                          [](std::int64_t row) { return row % 4 != 0; },
                          [](std::int64_t row) { return row % 3 == 0; },
                          [](std::int64_t row) { return row % 20 == 7; },
                          [](std::int64_t row) { return row < 4; },
                          [](std::int64_t) { return false; }};

TEST(ClusterFilter, FindsTheNearestOfWhatMatchesInEveryLayout) {
  for (const Layout layout : kLayouts) {
    const SmallClustersOptions options = of(layout);
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    const Found truth = exact(index, queries, options.count);
    for (const RowRule& rule : kRules) {
      const RowFilter filter = filter_of(index, rule);
      for (const std::uint32_t nprobe : {1U, 6U, options.clusters}) {
        ClusterSearchRequest request = with(kK, nprobe, 60, 2);
        request.filter = &filter;
        const Found found = search(searcher, queries, request);
        const double recall = recall_of(index, found, truth, rule, filter.matching());
        const double least = nprobe == options.clusters ? 0.97 : 0.5 + 0.4 * (nprobe == 6 ? 1 : 0);
        EXPECT_GE(recall, least) << static_cast<int>(layout) << " " << filter.matching() << " " << nprobe;
      }
    }
  }
}

TEST(ClusterFilter, PostingsAreReadWhereTheyMatchOnly) {
  for (const Layout layout : {Layout::kGrouped, Layout::kDecoupled}) {
    const SmallClusters index(of(layout));
    ClusterSearcher searcher(dram(index), index.part());
    const RowFilter filter = filter_of(index, [](std::int64_t row) { return row % 20 == 7; });
    ClusterSearchRequest request = with(kK, 6);
    request.parameters.coalesce_bytes = 0;
    request.filter = &filter;
    EXPECT_EQ(searcher.plan(filter, request.parameters), FilterPlan::kRows);
    const std::uint64_t record_bytes = index.part().record().bytes();
    for (const engine::QueryCost& cost : search(searcher, some_queries(index, kQueries), request).costs) {
      EXPECT_EQ(cost.bytes, filter.matching() * record_bytes);
      EXPECT_EQ(cost.code_distances, 0U);
    }
  }
}

// Only the rows of one cluster far from the query match: the nearest clusters have none of them.
TEST(ClusterFilter, ProbesMoreClustersWhereTheNearestHaveTooLittle) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, 1);
    const Found truth = exact(index, queries, index.options.count);
    std::vector<bool> is_near(index.options.count);
    for (std::size_t i = 0; i < index.options.count / 2; ++i) is_near[static_cast<std::size_t>(truth.ids[i])] = true;
    const RowFilter filter =
        filter_of(index, [&](std::int64_t row) { return !is_near[static_cast<std::size_t>(row)]; });
    ClusterSearchRequest request = with(kK, 1, 30);
    request.filter = &filter;
    ASSERT_EQ(searcher.plan(filter, request.parameters), FilterPlan::kClusters);
    const Found found = search(searcher, queries, request);
    EXPECT_EQ(found.costs[0].rescans, 1U) << static_cast<int>(layout);
    for (std::uint32_t i = 0; i < kK; ++i) EXPECT_GE(found.ids[i], 0);
  }
}

TEST(ClusterFilter, AFilterOfAnotherIndexIsRefused) {
  const SmallClusters index(of(Layout::kCoded));
  ClusterSearcher searcher(dram(index), index.part());
  const RowFilter other(64, {1});
  ClusterSearchRequest request = with(kK, 4);
  request.filter = &other;
  EXPECT_EQ(error_of(searcher, some_queries(index, 1), request), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tiervec::cluster_index

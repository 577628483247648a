#include <tiervec/cluster_index/cluster_searcher.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/device_profile.h>
#include <tiervec/rdma/dram_tier.h>

#include "cluster_index/small_clusters.h"
#include "graph_index/faulty_tier.h"

namespace tiervec::cluster_index {
namespace {

using namespace std::chrono_literals;
using graph_index::testing::FaultyTier;
using testing::dram;
using testing::error_of;
using testing::exact;
using testing::Found;
using testing::kLayouts;
using testing::of;
using testing::recall;
using testing::search;
using testing::SmallClusters;
using testing::SmallClustersOptions;
using testing::some_queries;
using testing::with;

constexpr std::uint32_t kQueries = 40;

TEST(ClusterSearcher, AllClustersAndAFullRerankFindTheExactNeighbours) {
  for (const Layout layout : kLayouts) {
    for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
      for (const Dtype dtype : {Dtype::kFloat32, Dtype::kFloat16, Dtype::kInt8, Dtype::kUint8}) {
        SmallClustersOptions options = of(layout);
        options.metric = metric;
        options.dtype = dtype;
        const SmallClusters index(options);
        ClusterSearcher searcher(dram(index), index.part());
        const auto queries = some_queries(index, kQueries);
        const Found truth = exact(index, queries, 10);
        const Found found = search(searcher, queries, with(10, options.clusters, 128));
        const auto name = [&] {
          return std::to_string(static_cast<int>(layout)) + " " + std::to_string(static_cast<int>(metric)) + " " +
                 std::to_string(static_cast<int>(dtype));
        };
        if (layout == Layout::kCoded) {
          EXPECT_GE(recall(found, truth, 10), 0.99) << name();
        } else {
          EXPECT_EQ(found.ids, truth.ids) << name();  // ties by id, as the exact search has them
          EXPECT_EQ(found.distances, truth.distances) << name();
        }
      }
    }
  }
}

TEST(ClusterSearcher, CodesDecideNothingWhenEveryVectorIsRead) {
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    SmallClustersOptions options = of(Layout::kCoded);
    options.metric = metric;
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    const Found truth = exact(index, queries, 10);
    const Found found = search(searcher, queries, with(10, options.clusters, options.count));
    EXPECT_EQ(found.ids, truth.ids);
    EXPECT_EQ(found.distances, truth.distances);
  }
}

TEST(ClusterSearcher, FewClustersFindMostNeighbours) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    EXPECT_GE(recall(search(searcher, queries, with(10, 8)), exact(index, queries, 10), 10), 0.8);
  }
}

TEST(ClusterSearcher, LayoutsOfTheSameClustersFindTheSame) {
  const SmallClusters replicated(of(Layout::kReplicated));
  ClusterSearcher expected_of(dram(replicated), replicated.part());
  const auto queries = some_queries(replicated, kQueries);
  for (const std::uint32_t nprobe : {1U, 3U, 9U}) {
    const Found expected = search(expected_of, queries, with(10, nprobe));
    for (const Layout layout : {Layout::kGrouped, Layout::kDecoupled}) {
      const SmallClusters index(of(layout));
      ClusterSearcher searcher(dram(index), index.part());
      const Found found = search(searcher, queries, with(10, nprobe));
      EXPECT_EQ(found.ids, expected.ids);
      EXPECT_EQ(found.distances, expected.distances);
    }
  }
}

TEST(ClusterSearcher, ThreadsPipelineAndCoalescingDoNotChangeTheResult) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    const Found expected = search(searcher, queries, with(10, 6));
    EXPECT_EQ(search(searcher, queries, with(10, 6, 40, 3)).ids, expected.ids);
    ClusterSearchRequest request = with(10, 6);
    request.parameters.pipeline = false;
    EXPECT_EQ(search(searcher, queries, request).ids, expected.ids);
    request.parameters.coalesce_bytes = 0;
    const Found apart = search(searcher, queries, request);
    EXPECT_EQ(apart.ids, expected.ids);
    request.parameters.coalesce_bytes = 1U << 20U;
    const Found together = search(searcher, queries, request);
    EXPECT_EQ(together.ids, expected.ids);
    if (layout == Layout::kGrouped || layout == Layout::kDecoupled) {
      EXPECT_LT(together.costs[0].reads, apart.costs[0].reads);
      EXPECT_GT(together.costs[0].bytes, apart.costs[0].bytes);
    }
  }
}

TEST(ClusterSearcher, GapsAreReadThroughUpToTheKneeOfTheDevice) {
  constexpr std::uint32_t kAnyGap = 1U << 20U;
  for (const Layout layout : {Layout::kGrouped, Layout::kDecoupled}) {
    const SmallClusters index(of(layout));
    const auto queries = some_queries(index, kQueries);
    for (const double bytes_per_s : {3e9, 1e10}) {  // 300 and 1000 bytes are 3 and 12 records
      const auto tier = std::make_shared<FaultyTier>(index.region);
      tier->bytes_per_s = bytes_per_s;
      ClusterSearcher searcher(tier, index.part());
      const auto reads_of = [&](std::optional<std::uint32_t> coalesce_bytes) {
        ClusterSearchRequest request = with(10, 6);
        request.parameters.coalesce_bytes = coalesce_bytes;
        std::vector<std::uint64_t> reads;
        for (const auto& cost : search(searcher, queries, request).costs) reads.push_back(cost.reads);
        return reads;
      };
      const auto total = [](const std::vector<std::uint64_t>& reads) {
        return std::accumulate(reads.begin(), reads.end(), std::uint64_t{0});
      };
      const std::vector<std::uint64_t> by_default = reads_of({});
      EXPECT_EQ(by_default, reads_of(static_cast<std::uint32_t>(rdma::knee_bytes(tier->profile()))));
      EXPECT_LT(total(by_default), total(reads_of(0)));
      EXPECT_GT(total(by_default), total(reads_of(kAnyGap)));
    }
  }
}

TEST(ClusterSearcher, CodedReadsOnceAndNoMoreThanAsked) {
  const SmallClusters index(of(Layout::kCoded));
  ClusterSearcher searcher(dram(index), index.part());
  ClusterSearchRequest request = with(10, 9, 33);
  request.parameters.coalesce_bytes = 0;
  const Found found = search(searcher, some_queries(index, kQueries), request);
  for (const engine::QueryCost& cost : found.costs) {
    EXPECT_EQ(cost.rounds, 1U);
    EXPECT_LE(cost.reads, 33U);
    EXPECT_EQ(cost.bytes, 33U * (index.options.dim * 4 + ClusterRecord::kCheckBytes));
    EXPECT_GT(cost.code_distances, 33U);
    EXPECT_GT(cost.latency_us, 0);
  }
}

TEST(ClusterSearcher, ReadsOfAQueryAreOneRoundUpToABound) {
  SmallClustersOptions options = of(Layout::kDecoupled);
  options.count = 9000;
  options.dim = 3;
  const SmallClusters index(options);
  const auto tier = std::make_shared<FaultyTier>(index.region);
  ClusterSearcher searcher(tier, index.part());
  options.layout = Layout::kReplicated;
  const SmallClusters copies(options);
  ClusterSearcher copies_searcher(dram(copies), copies.part());
  const auto queries = some_queries(index, kQueries);
  constexpr std::uint32_t kMost = 8 * rdma::ReadBatch::kMaxReads;
  bool many_in_one = false;
  bool several = false;
  for (const std::uint32_t nprobe : {3U, 6U, 14U}) {
    ClusterSearchRequest request = with(10, nprobe);
    request.parameters.coalesce_bytes = 0;
    const Found found = search(searcher, queries, request);
    for (const auto& cost : found.costs) {
      EXPECT_EQ(cost.rounds, (cost.reads + kMost - 1) / kMost);
      many_in_one |= cost.reads > rdma::ReadBatch::kMaxReads && cost.rounds == 1;
      several |= cost.rounds > 1;
    }
    EXPECT_EQ(search(copies_searcher, queries, request).ids, found.ids);
    request.parameters.coalesce_bytes = 1U << 20U;
    EXPECT_EQ(search(searcher, queries, request).ids, found.ids);
  }
  EXPECT_TRUE(many_in_one);
  EXPECT_TRUE(several);
}

// Ranges of many scans' worth of rows, that begin within a block.
TEST(ClusterSearcher, CodedClustersMayBeHuge) {
  SmallClustersOptions options = of(Layout::kCoded);
  options.count = 40'001;
  options.dim = 4;
  options.clusters = 3;
  options.groups = 1;
  options.replicas = 1;
  const SmallClusters index(options);
  ClusterSearcher searcher(dram(index), index.part());
  const auto queries = some_queries(index, 10);
  ClusterSearchRequest request = with(5, 3, 5);
  request.parameters.rerank = 500;
  const Found found = search(searcher, queries, request);
  for (const auto& cost : found.costs) EXPECT_EQ(cost.code_distances, 40'001U + 3 + 1);
  EXPECT_GE(recall(found, exact(index, queries, 5), 5), 0.99);
}

TEST(ClusterSearcher, PruningSavesCodes) {
  SmallClustersOptions options = of(Layout::kCoded);
  options.clusters = 90;
  options.groups = 9;
  const SmallClusters index(options);
  ClusterSearcher searcher(dram(index), index.part());
  const auto queries = some_queries(index, kQueries);
  const auto codes_of = [&](float prune, std::uint32_t nprobe) {
    ClusterSearchRequest request = with(3, nprobe, 5);
    request.parameters.prune = prune;
    std::uint64_t sum = 0;
    for (const auto& cost : search(searcher, queries, request).costs) sum += cost.code_distances;
    return sum;
  };
  EXPECT_LT(codes_of(0.01F, 80), codes_of(0, 80));
  EXPECT_EQ(codes_of(1e9F, 80), codes_of(0, 80));
  EXPECT_EQ(codes_of(0.01F, 90), codes_of(0, 90));  // all clusters are all clusters
}

TEST(ClusterSearcher, PruningLosesHardlyAnyNeighbours) {
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    SmallClustersOptions options = of(Layout::kCoded);
    options.metric = metric;
    options.count = 4000;
    options.clusters = 400;  // many more than the nearest ones, which are scanned whatever they are
    options.groups = 20;
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    const Found truth = exact(index, queries, 10);
    ClusterSearchRequest request = with(10, 300, 20);
    const Found pruned = search(searcher, queries, request);
    request.parameters.prune = 0;
    const Found whole = search(searcher, queries, request);
    std::uint64_t saved = 0;
    for (std::size_t q = 0; q < kQueries; ++q) saved += whole.costs[q].code_distances - pruned.costs[q].code_distances;
    EXPECT_GT(saved, 0U);
    EXPECT_GE(recall(whole, truth, 10), 0.98);
    EXPECT_GE(recall(pruned, truth, 10), recall(whole, truth, 10) - 0.01);
  }
}

TEST(ClusterSearcher, PadsBeyondWhatThereIs) {
  for (const Layout layout : kLayouts) {
    SmallClustersOptions options = of(layout);
    options.count = 3;
    options.clusters = 3;
    options.groups = 1;
    options.replicas = 1;
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const Found found = search(searcher, some_queries(index, 1), with(5, 100));
    EXPECT_EQ(std::set<std::int64_t>(found.ids.begin(), found.ids.begin() + 3), (std::set<std::int64_t>{0, 1, 2}));
    for (std::size_t i = 3; i < 5; ++i) {
      EXPECT_EQ(found.ids[i], -1);
      EXPECT_EQ(found.distances[i], std::numeric_limits<float>::infinity());
    }
  }
}

TEST(ClusterSearcher, OneDimensionAndMoreClustersThanVectors) {
  for (const Layout layout : kLayouts) {
    SmallClustersOptions options = of(layout);
    options.dim = 1;
    options.count = 40;
    options.clusters = 60;  // most of them are empty
    options.groups = 60;
    options.replicas = 2;
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    const Found truth = exact(index, queries, 10);
    EXPECT_EQ(search(searcher, queries, with(10, 60, 128)).ids, truth.ids);
  }
}

TEST(ClusterSearcher, AllDuplicatesInOneGiantCluster) {
  for (const Layout layout : kLayouts) {
    SmallClustersOptions options = of(layout);
    options.clusters = 1;
    options.groups = 1;
    options.replicas = 1;
    options.count = 3000;
    options.dim = 2;
    options.dtype = Dtype::kUint8;  // few values, many ties
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, 4);
    const Found found = search(searcher, queries, with(10, 1, 128));
    EXPECT_EQ(found.distances.size(), 40U);
    if (layout != Layout::kCoded) {
      EXPECT_EQ(found.ids, exact(index, queries, 10).ids);
    }
    for (std::size_t q = 0; q < 4; ++q) {
      const auto begin = found.ids.begin() + static_cast<std::ptrdiff_t>(q * 10);
      EXPECT_EQ(std::set<std::int64_t>(begin, begin + 10).size(), 10U);
      EXPECT_TRUE(std::is_sorted(found.distances.begin() + static_cast<std::ptrdiff_t>(q * 10),
                                 found.distances.begin() + static_cast<std::ptrdiff_t>(q * 10 + 10)));
    }
  }
}

TEST(ClusterSearcher, LongReadsAreCutIntoPieces) {
  for (const Layout layout : {Layout::kGrouped, Layout::kReplicated}) {
    SmallClustersOptions options = of(layout);
    options.dim = 300;  // more than a read's limit in each cluster
    options.clusters = 4;
    options.groups = 2;
    const SmallClusters index(options);
    ClusterSearcher searcher(std::make_shared<FaultyTier>(index.region), index.part());
    const auto queries = some_queries(index, 5);
    EXPECT_EQ(search(searcher, queries, with(10, 4)).ids, exact(index, queries, 10).ids);
  }
}

TEST(ClusterSearcher, LabelsComeBackInPlaceOfRows) {
  for (const Layout layout : kLayouts) {
    SmallClustersOptions options = of(layout);
    options.first_label = 5'000'000'000;
    const SmallClusters index(options);
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    EXPECT_GE(recall(search(searcher, queries, with(10, 23, 128)), exact(index, queries, 10), 10), 0.99);
  }
}

TEST(ClusterSearcher, AlignedPostingsStartWhereTheyShould) {
  SmallClustersOptions options = of(Layout::kReplicated);
  options.align = 4096;
  const SmallClusters index(options);
  for (std::size_t i = 0; i + 1 < index.posting_offsets.size(); ++i) EXPECT_EQ(index.posting_offsets[i] % 4096, 0U);
  ClusterSearcher searcher(dram(index), index.part());
  const auto queries = some_queries(index, kQueries);
  EXPECT_EQ(search(searcher, queries, with(10, 23)).ids, exact(index, queries, 10).ids);
}

TEST(ClusterSearcher, AnExcludedPositionIsNeverFound) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    ClusterSearcher searcher(dram(index), index.part());
    // Each of the first vectors asks for itself.
    const std::size_t bytes = std::size_t{kQueries} * index.options.dim * 4;
    const std::span<const std::byte> queries(index.data.data(), bytes);
    std::vector<std::int64_t> rows;
    std::vector<std::int64_t> positions;
    for (std::uint32_t row = 0; row < kQueries; ++row) {
      rows.push_back(row % 2 == 0 ? row : -1);
      positions.push_back(row % 2 == 0 ? index.position_of[row] : -1);
    }
    ClusterSearchRequest request = with(10, 23, 10);
    request.exclude = positions.data();
    const Found found = search(searcher, queries, request);
    for (std::uint32_t row = 0; row < kQueries; ++row) {
      const auto begin = found.ids.begin() + std::ptrdiff_t{row} * 10;
      EXPECT_EQ(std::find(begin, begin + 10, row) == begin + 10, row % 2 == 0) << row;
      EXPECT_EQ(*std::min_element(begin, begin + 10) < 0, false);  // its place is taken by another
    }
    if (layout != Layout::kCoded) {
      EXPECT_EQ(found.ids, exact(index, queries, 10, rows.data()).ids);
    }
  }
}

TEST(ClusterSearcher, NoQueriesAreNoError) {
  const SmallClusters index(of(Layout::kCoded));
  ClusterSearcher searcher(dram(index), index.part());
  EXPECT_TRUE(search(searcher, {}, with(10, 4)).ids.empty());
}

TEST(ClusterSearcher, ManyThreadsSearchAtTheSameTime) {
  const SmallClusters index(of(Layout::kCoded));
  ClusterSearcher searcher(std::make_shared<FaultyTier>(index.region), index.part());
  const auto queries = some_queries(index, kQueries);
  const Found expected = search(searcher, queries, with(10, 6));
  std::vector<std::vector<std::int64_t>> found(4);
  {
    std::vector<std::jthread> callers;
    for (auto& ids : found) {
      callers.emplace_back([&] {
        for (int round = 0; round < 3; ++round) ids = search(searcher, queries, with(10, 6, 40, 2)).ids;
      });
    }
  }
  for (const auto& ids : found) EXPECT_EQ(ids, expected.ids);
}

TEST(ClusterSearcher, CompletionsInAnyOrderGiveTheSameResult) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    const auto tier = std::make_shared<FaultyTier>(index.region);
    tier->newest_first = true;
    tier->latency_us = 20;
    ClusterSearcher searcher(tier, index.part());
    ClusterSearcher straight(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    EXPECT_EQ(search(searcher, queries, with(10, 6, 40, 2)).ids, search(straight, queries, with(10, 6)).ids);
    EXPECT_EQ(tier->views, 0);
  }
}

TEST(ClusterSearcher, AFailedReadEndsTheSearchAndTheNextOneWorks) {
  for (const Layout layout : kLayouts) {
    const SmallClusters index(of(layout));
    const auto queries = some_queries(index, kQueries);
    for (const std::uint32_t fail_at : {0U, 7U, 39U}) {
      const auto tier = std::make_shared<FaultyTier>(index.region);
      tier->fail_at = fail_at;
      ClusterSearcher searcher(tier, index.part());
      EXPECT_EQ(error_of(searcher, queries, with(10, 6, 40, 2)), ErrorCode::kUnavailable);
      EXPECT_EQ(tier->views, 0);
      EXPECT_EQ(tier->in_flight, 0);
      EXPECT_EQ(error_of(searcher, queries, with(10, 6, 40, 2)), ErrorCode::kOk);
    }
  }
}

TEST(ClusterSearcher, ATokenEndsASearchOnATierThatHangs) {
  const SmallClusters index(of(Layout::kCoded));
  const auto tier = std::make_shared<FaultyTier>(index.region);
  tier->hangs = true;
  ClusterSearcher searcher(tier, index.part());
  engine::CancelToken token;
  ClusterSearchRequest request = with(10, 6, 40, 2);
  request.cancel = &token;
  std::jthread other([&] {
    while (tier->in_flight == 0) std::this_thread::yield();
    token.cancel();
  });
  EXPECT_EQ(error_of(searcher, some_queries(index, kQueries), request), ErrorCode::kCancelled);
  EXPECT_EQ(tier->views, 0);
  EXPECT_EQ(tier->in_flight, 0);
  tier->hangs = false;
  EXPECT_EQ(error_of(searcher, some_queries(index, kQueries), with(10, 6)), ErrorCode::kOk);
}

TEST(ClusterSearcher, ADeadlineEndsASearchOnATierThatHangsRealTime) {
  const SmallClusters index(of(Layout::kGrouped));
  const auto tier = std::make_shared<FaultyTier>(index.region);
  tier->hangs = true;
  ClusterSearcher searcher(tier, index.part());
  ClusterSearchRequest request = with(10, 6, 40, 2);
  request.deadline = TickClock::after(30ms);
  EXPECT_EQ(error_of(searcher, some_queries(index, kQueries), request), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(tier->in_flight, 0);
}

}  // namespace
}  // namespace tiervec::cluster_index

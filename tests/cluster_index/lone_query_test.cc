// A query that is alone: two threads scan for it.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <pthread.h>

#include <tiervec/cluster_index/cluster_searcher.h>

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
using testing::recall;
using testing::search;
using testing::SmallClusters;
using testing::SmallClustersOptions;
using testing::some_queries;

constexpr std::uint32_t kQueries = 30;
constexpr std::uint32_t kClusters = 120;

SmallClustersOptions many(Metric metric = Metric::kL2) {
  SmallClustersOptions options;
  options.count = 8000;
  options.clusters = kClusters;
  options.groups = 11;
  options.metric = metric;
  return options;
}

ClusterSearchRequest asked(std::uint32_t nprobe, float prune, unsigned threads) {
  ClusterSearchRequest request;
  request.parameters.nprobe = nprobe;
  request.parameters.prune = prune;
  request.parameters.split = true;
  request.threads = threads;
  return request;
}

/// Query by query.
Found one_by_one(ClusterSearcher& searcher, std::span<const std::byte> queries, const ClusterSearchRequest& request) {
  const std::size_t bytes = searcher.dim() * element_bytes(searcher.query_dtype());
  Found all;
  for (std::size_t i = 0; i < queries.size() / bytes; ++i) {
    ClusterSearchRequest one = request;
    if (request.exclude != nullptr) one.exclude = request.exclude + i;
    const Found found = search(searcher, queries.subspan(i * bytes, bytes), one);
    EXPECT_EQ(found.time.threads, request.threads);
    all.ids.insert(all.ids.end(), found.ids.begin(), found.ids.end());
    all.distances.insert(all.distances.end(), found.distances.begin(), found.distances.end());
    all.costs.insert(all.costs.end(), found.costs.begin(), found.costs.end());
  }
  return all;
}

std::uint64_t codes_of(const Found& found) {
  std::uint64_t sum = 0;
  for (const engine::QueryCost& cost : found.costs) sum += cost.code_distances;
  return sum;
}

TEST(LoneQuery, TwoThreadsFindWhatOneFinds) {
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    const SmallClusters index(many(metric));
    ClusterSearcher searcher(dram(index), index.part());
    const auto queries = some_queries(index, kQueries);
    for (const std::uint32_t nprobe : {33U, 50U, kClusters}) {
      const Found alone = one_by_one(searcher, queries, asked(nprobe, 0, 1));
      const Found helped = one_by_one(searcher, queries, asked(nprobe, 0, 2));
      EXPECT_EQ(helped.ids, alone.ids);
      EXPECT_EQ(helped.distances, alone.distances);
      EXPECT_EQ(codes_of(helped), codes_of(alone));
    }
  }
}

// Each thread has a bound of its own, so a few more clusters may be looked at.
TEST(LoneQuery, PruningWorksOnTwoThreadsAndTheSameQueryGivesTheSame) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const auto queries = some_queries(index, kQueries);
  const ClusterSearchRequest request = asked(kClusters - 1, ClusterSearchParameters::kPrune, 2);
  const Found helped = one_by_one(searcher, queries, request);
  EXPECT_LT(codes_of(helped), codes_of(one_by_one(searcher, queries, asked(kClusters - 1, 0, 2))) * 9 / 10);
  EXPECT_GE(recall(helped, exact(index, queries, 10), 10), 0.98);
  for (int round = 0; round < 5; ++round) {
    const Found again = one_by_one(searcher, queries, request);
    EXPECT_EQ(again.ids, helped.ids);
    EXPECT_EQ(codes_of(again), codes_of(helped));
  }
}

TEST(LoneQuery, AnExcludedPositionIsNotFound) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const std::span<const std::byte> queries(index.data.data(), std::size_t{kQueries} * index.options.dim * 4);
  std::vector<std::int64_t> positions(index.position_of.begin(), index.position_of.begin() + kQueries);
  ClusterSearchRequest request = asked(60, 0.2F, 2);
  request.exclude = positions.data();
  const Found found = one_by_one(searcher, queries, request);
  for (std::uint32_t row = 0; row < kQueries; ++row) {
    const auto begin = found.ids.begin() + std::ptrdiff_t{row} * 10;
    EXPECT_EQ(std::find(begin, begin + 10, row), begin + 10);
    EXPECT_GE(*std::min_element(begin, begin + 10), 0);
  }
}

/// Whether a search after `between` has such a waiting time, sooner or later.
bool comes_to_wait(ClusterSearcher& searcher, std::span<const std::byte> query, const std::function<void()>& between,
                   const std::function<bool(double)>& is_wanted) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (std::chrono::steady_clock::now() < give_up) {
    between();
    if (is_wanted(search(searcher, query, asked(60, 0, 2)).time.waiting_us)) return true;
  }
  return false;
}

void long_pause() {
  std::this_thread::sleep_for(5ms);
}
bool none(double us) {
  return us == 0;
}
bool some(double us) {
  return us > 0;
}

// On a tier that is loaded from, a worker does not wait.
TEST(LoneQuery, IsCountedWithItsHelper) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const auto query = some_queries(index, 1);
  EXPECT_EQ(search(searcher, query, asked(60, 0, 4)).time.threads, 2U);
  EXPECT_TRUE(comes_to_wait(searcher, query, [] {}, some));
  EXPECT_TRUE(comes_to_wait(searcher, query, long_pause, none));
}

TEST(LoneQuery, SearchesThatThrowEndTheirCallsOfTheHelper) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const auto query = some_queries(index, 1);
  engine::CancelToken cancel;
  cancel.cancel();
  ClusterSearchRequest cancelled = asked(60, 0, 2);
  cancelled.cancel = &cancel;
  ASSERT_TRUE(comes_to_wait(searcher, query, long_pause, none));
  const auto throw_often = [&] {
    long_pause();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(error_of(searcher, query, cancelled), ErrorCode::kCancelled);
    long_pause();
  };
  EXPECT_TRUE(comes_to_wait(searcher, query, throw_often, some)) << "they follow each other, and do not wake it";
}

TEST(LoneQuery, FailsWithTheTiersErrorAndTheNextOneWorks) {
  const SmallClusters index(many());
  const auto tier = std::make_shared<FaultyTier>(index.region);
  ClusterSearcher searcher(tier, index.part());
  const auto query = some_queries(index, 1);
  const Found expected = search(searcher, query, asked(60, 0, 2));
  for (int round = 0; round < 5; ++round) {
    tier->fail_at = tier->batches;
    EXPECT_EQ(error_of(searcher, query, asked(60, 0, 2)), ErrorCode::kUnavailable);
    EXPECT_EQ(tier->views, 0);
    EXPECT_EQ(tier->in_flight, 0);
    const Found found = search(searcher, query, asked(60, 0, 2));
    EXPECT_EQ(found.time.threads, 2U);
    EXPECT_EQ(found.ids, expected.ids);
    EXPECT_EQ(found.distances, expected.distances);
  }
}

TEST(LoneQuery, UnaskedLittleWorkOrOneThreadHasNoHelper) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  EXPECT_EQ(search(searcher, some_queries(index, 1), asked(60, 0, 1)).time.threads, 1U);
  ClusterSearchRequest unasked = asked(60, 0, 2);
  unasked.parameters.split = false;
  EXPECT_EQ(search(searcher, some_queries(index, 1), unasked).time.threads, 1U);
  EXPECT_EQ(search(searcher, some_queries(index, 1), asked(4, 0, 2)).time.threads, 1U);
  EXPECT_EQ(search(searcher, some_queries(index, 2), asked(60, 0, 2)).time.threads, 2U);  // one query each
}

#ifdef __GLIBC__
TEST(LoneQuery, WorksAloneWhereNoThreadCanBeMade) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const auto query = some_queries(index, 1);
  const Found expected = search(searcher, query, asked(60, 0, 1));
  pthread_attr_t usual;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  pthread_attr_t impossible = usual;
  ASSERT_EQ(pthread_attr_setstacksize(&impossible, std::size_t{1} << 60U), 0);  // more than there are addresses
  ASSERT_EQ(pthread_setattr_default_np(&impossible), 0);
  Found found;
  EXPECT_NO_THROW(found = search(searcher, query, asked(60, 0, 2)));
  ASSERT_EQ(pthread_setattr_default_np(&usual), 0);
  EXPECT_EQ(found.time.threads, 1U);
  EXPECT_EQ(found.ids, expected.ids);
  EXPECT_EQ(search(searcher, query, asked(60, 0, 2)).time.threads, 2U) << "there are threads again";
}
#endif

TEST(LoneQuery, CallersAtTheSameTimeDoNotShareTheHelper) {
  const SmallClusters index(many());
  ClusterSearcher searcher(dram(index), index.part());
  const auto queries = some_queries(index, kQueries);
  const Found expected = search(searcher, queries, asked(60, 0, 1));
  std::vector<std::vector<std::int64_t>> found(4);
  {
    std::vector<std::jthread> callers;
    const std::size_t bytes = searcher.dim() * element_bytes(searcher.query_dtype());
    for (auto& ids : found) {
      callers.emplace_back([&] {
        for (std::size_t i = 0; i < kQueries; ++i) {
          const Found one = search(searcher, std::span(queries).subspan(i * bytes, bytes), asked(60, 0, 2));
          ids.insert(ids.end(), one.ids.begin(), one.ids.end());
        }
      });
    }
  }
  for (const auto& ids : found) EXPECT_EQ(ids, expected.ids);
}

}  // namespace
}  // namespace tiervec::cluster_index

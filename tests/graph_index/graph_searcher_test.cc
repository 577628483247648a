#include <tiervec/graph_index/graph_searcher.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>

#include "graph_index/faulty_tier.h"
#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using namespace std::chrono_literals;
using testing::clustered;
using testing::exact;
using testing::FaultyTier;
using testing::Found;
using testing::recall;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

constexpr std::uint32_t kQueries = 60;

const SmallIndex& shared_index() {
  static const SmallIndex index;
  return index;
}

std::vector<float> queries_of(const SmallIndex& index, std::uint32_t count = kQueries) {
  std::vector<float> queries = clustered(index.options.count + count, index.options.dim, 17);
  return {queries.end() - static_cast<std::ptrdiff_t>(std::size_t{count} * index.options.dim), queries.end()};
}

SearchRequest with(std::uint32_t k, std::uint32_t search_list, std::uint32_t beam_width = 1, unsigned threads = 1) {
  SearchRequest request;
  request.parameters.k = k;
  request.parameters.search_list = search_list;
  request.parameters.beam_width = beam_width;
  request.threads = threads;
  return request;
}

ErrorCode error_of(GraphSearcher& searcher, const std::vector<float>& queries, const SearchRequest& request) {
  try {
    (void)search(searcher, queries, request);
    return ErrorCode::kOk;
  } catch (const Error& error) {
    return error.code();
  }
}

TEST(GraphSearcher, OtherLayoutsGiveWhatPackedGives) {
  const SmallIndex& packed = shared_index();
  GraphSearcher one(rdma::DramTier::from_bytes(packed.records), packed.part());
  const auto queries = queries_of(packed);
  const Found expected = search(one, queries, with(10, 40, 4));
  for (const RecordForm form : {RecordForm::kPlain, RecordForm::kSectors}) {
    SmallIndexOptions options;
    options.form = form;
    const SmallIndex index(options);
    EXPECT_EQ(index.written.locator.empty(), form == RecordForm::kSectors);
    GraphSearcher other(rdma::DramTier::from_bytes(index.records), index.part());
    const std::size_t saved = packed.written.locator.size() - index.written.locator.size();
    EXPECT_EQ(one.fast_bytes() - other.fast_bytes(), saved * sizeof(LocatorGroup));
    const Found found = search(other, queries, with(10, 40, 4));
    EXPECT_EQ(found.ids, expected.ids);
    EXPECT_EQ(found.distances, expected.distances);
    for (std::size_t q = 0; q < kQueries; ++q) EXPECT_EQ(found.costs[q].reads, expected.costs[q].reads);
  }
}

TEST(GraphSearcher, FindsTheNeighboursAndTheirExactDistances) {
  for (const Metric metric : {Metric::kL2, Metric::kIp, Metric::kCosine}) {
    SmallIndexOptions options;
    options.metric = metric;
    const SmallIndex index(options);
    GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
    const auto queries = queries_of(index);
    const Found truth = exact(index, queries, options.count);
    const Found found = search(searcher, queries, with(10, 80));
    std::vector<std::int64_t> nearest;
    for (std::size_t q = 0; q < kQueries; ++q) {
      for (std::size_t i = q * 10; i < q * 10 + 10; ++i) {
        const auto begin = truth.ids.begin() + static_cast<std::ptrdiff_t>(q * options.count);
        const auto at = std::find(begin, begin + options.count, found.ids[i]) - truth.ids.begin();
        // The same bits: calibration compares these distances with those of the exact search.
        ASSERT_EQ(found.distances[i], truth.distances[static_cast<std::size_t>(at)]) << static_cast<int>(metric);
        EXPECT_TRUE(i % 10 == 0 || found.distances[i] >= found.distances[i - 1]);
        nearest.push_back(truth.ids[q * options.count + i % 10]);
      }
    }
    EXPECT_GE(recall(found, {nearest, {}, {}}, 10), 0.97) << "metric " << static_cast<int>(metric);
  }
}

TEST(GraphSearcher, BeamThreadsAndPipelineDoNotChangeWhatOneReadARoundFinds) {
  const SmallIndex& index = shared_index();
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const auto queries = queries_of(index);
  const Found one = search(searcher, queries, with(10, 40));
  EXPECT_EQ(search(searcher, queries, with(10, 40, 1, 4)).ids, one.ids);
  SearchRequest alone = with(10, 40, 8);
  alone.parameters.pipeline = false;
  const Found unpiped = search(searcher, queries, alone);
  EXPECT_EQ(unpiped.ids, one.ids);
  for (const QueryCost& cost : unpiped.costs) EXPECT_EQ(cost.reads, cost.rounds);
  const Found truth = exact(index, queries, 10);
  for (const std::uint32_t beam : {2U, 8U, 32U}) {
    EXPECT_GE(recall(search(searcher, queries, with(10, 40, beam)), truth, 10), recall(one, truth, 10) - 0.01);
  }
}

TEST(GraphSearcher, CostsAreCounted) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  GraphSearcher searcher(tier, index.part());
  const auto queries = queries_of(index);
  const Found found = search(searcher, queries, with(10, 40, 4, 2));
  std::uint64_t rounds = 0;
  for (const QueryCost& cost : found.costs) {
    EXPECT_GE(cost.reads, 10U);
    EXPECT_LE(cost.reads, index.options.count);
    EXPECT_LE(cost.reads, 4 * cost.rounds);
    EXPECT_GE(cost.bytes, std::uint64_t{cost.reads} * index.written.layout.record_bytes(0));
    EXPECT_GE(cost.code_distances, cost.reads);
    EXPECT_GT(cost.latency_us, 0.0F);
    rounds += cost.rounds;
  }
  EXPECT_EQ(rounds, tier->batches);
}

TEST(GraphSearcher, AStopMarginSavesReads) {
  const SmallIndex& index = shared_index();
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const auto queries = queries_of(index);
  const auto reads = [&](float margin) {
    SearchRequest request = with(10, 100);
    request.parameters.stop_margin = margin;
    std::uint64_t sum = 0;
    for (const QueryCost& cost : search(searcher, queries, request).costs) sum += cost.reads;
    return sum;
  };
  EXPECT_LT(reads(0.05F), reads(0.3F));
  EXPECT_LT(reads(0.3F), reads(0));
}

TEST(GraphSearcher, PadsBeyondWhatThereIs) {
  SmallIndexOptions options;
  options.count = 5;
  const SmallIndex index(options);
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const Found found = search(searcher, queries_of(index, 3), with(9, 9));
  for (std::size_t q = 0; q < 3; ++q) {
    const std::set<std::int64_t> ids(found.ids.begin() + static_cast<std::ptrdiff_t>(q * 9),
                                     found.ids.begin() + static_cast<std::ptrdiff_t>(q * 9 + 5));
    EXPECT_EQ(ids, (std::set<std::int64_t>{0, 1, 2, 3, 4}));
    for (std::size_t i = q * 9 + 5; i < q * 9 + 9; ++i) {
      EXPECT_EQ(found.ids[i], -1);
      EXPECT_EQ(found.distances[i], std::numeric_limits<float>::infinity());
    }
  }
}

TEST(GraphSearcher, LabelsComeBackInPlaceOfRows) {
  SmallIndexOptions options;
  options.count = 100;
  for (std::int64_t i = 0; i < options.count; ++i) options.labels.push_back((std::int64_t{1} << 62) - 1 - 37 * i);
  const SmallIndex index(options);
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const auto queries = queries_of(index);
  const Found truth = exact(index, queries, 1);
  const Found found = search(searcher, queries, with(1, 50));
  for (std::size_t q = 0; q < kQueries; ++q) {
    EXPECT_EQ(found.ids[q], options.labels[static_cast<std::size_t>(truth.ids[q])]);
  }
}

TEST(GraphSearcher, TheLargestRecordsFitTheBuffersOfTheirQueue) {
  SmallIndexOptions options;
  options.count = 1100;
  options.dim = 3;
  options.graph_degree = 184;
  options.random_lists = true;
  const SmallIndex index(options);
  const RecordLayout& layout = index.written.layout;
  ASSERT_GE(layout.edge_units(184), 253U);  // close to the most that a queue is made for
  GraphSearcher searcher(std::make_shared<FaultyTier>(index.records), index.part());
  const Found found = search(searcher, queries_of(index), with(10, 300));
  EXPECT_EQ(std::count(found.ids.begin(), found.ids.end(), -1), 0);
}

TEST(GraphSearcher, NoQueriesAreNoError) {
  const SmallIndex& index = shared_index();
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  EXPECT_TRUE(search(searcher, {}, with(10, 10, 1, 3)).ids.empty());
}

TEST(GraphSearcher, EveryVectorFindsItself) {
  // With ids spread over the whole range of what the filter of met vertices can tell apart.
  SmallIndexOptions options;
  options.count = 4000;
  options.dim = 4;
  const SmallIndex index(options);
  GraphSearcher searcher(rdma::DramTier::from_bytes(index.records), index.part());
  const Found found = search(searcher, index.vectors, with(1, 30, 1, 2));
  std::size_t missed = 0;
  for (std::size_t row = 0; row < options.count; ++row) missed += found.distances[row] != 0.0F ? 1U : 0U;
  EXPECT_LE(missed, options.count / 200);
}

TEST(GraphSearcher, ManyThreadsSearchAtTheSameTime) {
  const SmallIndex& index = shared_index();
  GraphSearcher searcher(std::make_shared<FaultyTier>(index.records), index.part());
  const auto queries = queries_of(index);
  const Found expected = search(searcher, queries, with(10, 40, 2));
  std::vector<std::vector<std::int64_t>> found(4);
  {
    std::vector<std::jthread> callers;
    for (auto& ids : found) {
      callers.emplace_back([&] {
        for (int round = 0; round < 3; ++round) ids = search(searcher, queries, with(10, 40, 2, 2)).ids;
      });
    }
  }
  for (const auto& ids : found) EXPECT_EQ(ids, expected.ids);
}

TEST(GraphSearcher, CompletionsInAnyOrderGiveTheSameResult) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->newest_first = true;
  tier->latency_us = 20;
  GraphSearcher searcher(tier, index.part());
  GraphSearcher straight(rdma::DramTier::from_bytes(index.records), index.part());
  const auto queries = queries_of(index);
  EXPECT_EQ(search(searcher, queries, with(10, 40, 8, 2)).ids, search(straight, queries, with(10, 40, 8)).ids);
  EXPECT_EQ(tier->views, 0);
}

TEST(GraphSearcher, AFailedReadEndsTheSearchAndTheNextOneWorks) {
  const SmallIndex& index = shared_index();
  const auto queries = queries_of(index);
  for (const ErrorCode failure : {ErrorCode::kUnavailable, ErrorCode::kDataLoss, ErrorCode::kDeadlineExceeded}) {
    for (const std::uint32_t fail_at : {0U, 1U, 57U, 400U}) {
      const auto tier = std::make_shared<FaultyTier>(index.records);
      tier->failure = failure;
      tier->fail_at = fail_at;
      GraphSearcher searcher(tier, index.part());
      EXPECT_EQ(error_of(searcher, queries, with(10, 40, 2, 2)), failure) << "batch " << fail_at;
      EXPECT_EQ(tier->views, 0);
      EXPECT_EQ(tier->in_flight, 0);
      EXPECT_GE(recall(search(searcher, queries, with(10, 40, 2, 2)), exact(index, queries, 10), 10), 0.9);
    }
  }
}

TEST(GraphSearcher, AfterAnErrorNoNewQueryBegins) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->fail_at = 3;
  GraphSearcher searcher(tier, index.part());
  const auto queries = queries_of(index, 2000);
  EXPECT_EQ(error_of(searcher, queries, with(10, 40, 1, 2)), ErrorCode::kUnavailable);
  EXPECT_LT(tier->batches, 2000U * 10 / 4);  // of at least ten reads a query
}

TEST(GraphSearcher, ATokenEndsASearchOnATierThatHangs) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->hangs = true;
  GraphSearcher searcher(tier, index.part());
  engine::CancelToken token;
  SearchRequest request = with(10, 40, 2, 2);
  request.cancel = &token;
  std::jthread other([&] {
    while (tier->in_flight == 0) std::this_thread::yield();
    token.cancel();
  });
  EXPECT_EQ(error_of(searcher, queries_of(index), request), ErrorCode::kCancelled);
  EXPECT_EQ(tier->views, 0);
  EXPECT_EQ(tier->in_flight, 0);
  tier->hangs = false;
  EXPECT_EQ(error_of(searcher, queries_of(index), with(10, 40)), ErrorCode::kOk);
}

TEST(GraphSearcher, ADeadlineEndsASearchOnATierThatHangsRealTime) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->hangs = true;
  GraphSearcher searcher(tier, index.part());
  SearchRequest request = with(10, 40, 2, 2);
  request.deadline = TickClock::after(30ms);
  EXPECT_EQ(error_of(searcher, queries_of(index), request), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(tier->in_flight, 0);
}

TEST(GraphSearcher, ATokenThatIsSetAlreadyDoesNothing) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  GraphSearcher searcher(tier, index.part());
  engine::CancelToken token;
  token.cancel();
  SearchRequest request = with(10, 40);
  request.cancel = &token;
  EXPECT_EQ(error_of(searcher, queries_of(index), request), ErrorCode::kCancelled);
  EXPECT_EQ(tier->batches, 0U);
}

TEST(GraphSearcher, HotRecordsAreNotReadAndChangeNothing) {
  const SmallIndex& index = shared_index();
  const auto queries = queries_of(index);
  GraphSearcher cold(rdma::DramTier::from_bytes(index.records), index.part());
  const Found expected = search(cold, queries, with(10, 40));
  std::uint64_t before = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{10'000}, std::uint64_t{1} << 30U}) {
    const auto tier = std::make_shared<FaultyTier>(index.records);
    GraphSearcher searcher(tier, index.part());
    const std::uint64_t bytes = searcher.fast_bytes();
    const std::uint32_t kept = searcher.fill_hot_set(budget, 2, nullptr);
    EXPECT_LE(searcher.fast_bytes() - bytes, budget);
    EXPECT_EQ(kept > 0, budget > 0);
    const Found found = search(searcher, queries, with(10, 40));
    EXPECT_EQ(found.ids, expected.ids);
    std::uint64_t reads = 0;
    for (std::size_t q = 0; q < kQueries; ++q) {
      reads += found.costs[q].reads;
      EXPECT_EQ(found.costs[q].reads + found.costs[q].hot_records, expected.costs[q].reads);
    }
    EXPECT_LT(reads, before);
    before = reads;
    EXPECT_EQ(tier->views, 0);
  }
}

TEST(GraphSearcher, FillingTheHotSetCanFail) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->fail_at = 2;
  GraphSearcher searcher(tier, index.part());
  EXPECT_THROW(searcher.fill_hot_set(10'000, 1, nullptr), Error);
  EXPECT_EQ(tier->views, 0);
  engine::CancelToken token;
  token.cancel();
  EXPECT_THROW(searcher.fill_hot_set(10'000, 1, &token), Error);
  EXPECT_EQ(error_of(searcher, queries_of(index), with(10, 40)), ErrorCode::kOk);
}

// Workers are kept between searches, with room for the most queries.
TEST(GraphSearcher, KeepsFewerWideQueriesInFlightOnADisk) {
  const SmallIndex& index = shared_index();
  const auto tier = std::make_shared<FaultyTier>(index.records);
  tier->latency_us = 8;
  tier->block_bytes = 4096;
  GraphSearcher searcher(tier, index.part());
  const auto most_in_flight = [&](std::uint32_t beam_width) {
    tier->most_in_flight = 0;
    EXPECT_EQ(error_of(searcher, queries_of(index), with(10, 40, beam_width)), ErrorCode::kOk);
    return tier->most_in_flight.load();
  };
  const std::uint32_t room = queries_in_flight(tier->profile());
  ASSERT_LT(room, kQueries);
  ASSERT_LT(queries_in_flight(tier->profile(), 1, 16), room);
  EXPECT_EQ(most_in_flight(16), queries_in_flight(tier->profile(), 1, 16));
  EXPECT_EQ(most_in_flight(1), room);
  EXPECT_EQ(most_in_flight(16), queries_in_flight(tier->profile(), 1, 16));
}

TEST(QueriesInFlight, GrowWithTheLatencyWithinBounds) {
  const auto in_flight = [](double latency_us) { return queries_in_flight({.latency_us = latency_us}); };
  EXPECT_GE(in_flight(0.05), 4U);
  EXPECT_GE(in_flight(75), in_flight(2.8));
  EXPECT_LE(in_flight(1e7), 1024U);
}

TEST(QueriesInFlight, AreSharedOutOverThreadsOnADisk) {
  const rdma::DeviceProfile disk{.latency_us = 40, .reads_per_s = 100e3, .bytes_per_s = 2e9, .block_bytes = 4096};
  const std::uint32_t most = queries_in_flight(disk);
  EXPECT_EQ(queries_in_flight(disk, 2, 4), 20U);
  EXPECT_EQ(queries_in_flight(disk, 4, 4), 10U);
  EXPECT_EQ(queries_in_flight(disk, 2, 2), 40U);
  EXPECT_EQ(queries_in_flight(disk, 64, 32), queries_in_flight({}));
  EXPECT_EQ(queries_in_flight(disk, 1, 1), most);
  EXPECT_EQ(queries_in_flight(disk, 0, 0), most);
  rdma::DeviceProfile fast = disk;
  fast.reads_per_s = 10e6;
  EXPECT_GT(queries_in_flight(fast, 2, 4), queries_in_flight(disk, 2, 4));
  rdma::DeviceProfile card = disk;
  card.block_bytes = 64;
  EXPECT_EQ(queries_in_flight(card, 2, 4), most);
}

}  // namespace
}  // namespace tiervec::graph_index

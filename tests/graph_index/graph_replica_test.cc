// What a search does when a replica returns bytes that are not what was written: it reads the record from another one.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/graph_index/graph_searcher.h>
#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/replicated_tier.h>

#include "graph_index/faulty_tier.h"
#include "graph_index/small_index.h"

namespace tiervec::graph_index {
namespace {

using testing::FaultyTier;
using testing::Found;
using testing::search;
using testing::SmallIndex;
using testing::SmallIndexOptions;

class GraphReplica : public ::testing::Test {
 protected:
  static const SmallIndex& index() {
    static const SmallIndex index([] {
      SmallIndexOptions options;
      options.count = 300;
      options.dim = 7;
      options.graph_degree = 8;
      return options;
    }());
    return index;
  }
  static std::vector<float> queries() {
    return {index().vectors.begin(), index().vectors.begin() + 20 * index().options.dim};
  }
  static SearchRequest request(std::uint32_t beam_width) {
    SearchRequest request;
    request.parameters.k = 5;
    request.parameters.search_list = 100;
    request.parameters.beam_width = beam_width;
    return request;
  }
  static rdma::Read locate(std::uint32_t vertex) {
    const RecordLocator locator(index().written.layout, index().written.locator, index().options.count,
                                index().records.size());
    return locator.locate(vertex);
  }

  /// A replica whose records of the chosen vertices are damaged.
  std::shared_ptr<FaultyTier> replica(const std::function<bool(std::uint32_t)>& damaged) {
    auto bytes = index().records;
    for (std::uint32_t v = 0; v < index().options.count; ++v) {
      if (damaged(v)) {
        const rdma::Read read = locate(v);
        bytes[read.offset + v % read.length] ^= std::byte{8};
      }
    }
    replicas_.push_back(std::make_shared<FaultyTier>(std::move(bytes)));
    replicas_.back()->verified = false;
    return replicas_.back();
  }
  std::shared_ptr<rdma::ReplicatedTier> replicated() {
    return std::make_shared<rdma::ReplicatedTier>(
        "faulty://a,b", std::vector<std::shared_ptr<rdma::Tier>>(replicas_.begin(), replicas_.end()));
  }
  void TearDown() override {
    for (const auto& replica : replicas_) {
      EXPECT_EQ(replica->views, 0);
      EXPECT_EQ(replica->in_flight, 0);
    }
  }

  std::vector<std::shared_ptr<FaultyTier>> replicas_;
};

TEST_F(GraphReplica, ADamagedRecordIsReadFromAnotherReplica) {
  for (const std::uint32_t width : {1U, 4U, 32U}) {
    for (const bool pipeline : {true, false}) {
      SearchRequest wanted = request(width);
      wanted.parameters.pipeline = pipeline;
      GraphSearcher whole(rdma::DramTier::from_bytes(index().records), index().part());
      const Found right = search(whole, queries(), wanted);
      // No record is whole on both of the first two; some are damaged on two in a row.
      replicas_.clear();
      replica([](std::uint32_t v) { return v % 2 == 0; });
      replica([](std::uint32_t v) { return v % 2 == 1 || v % 6 == 0; });
      replica([](std::uint32_t v) { return v % 5 == 1 && v % 6 != 0; });
      GraphSearcher searcher(replicated(), index().part());
      for (int repeat = 0; repeat < 3; ++repeat) {
        const Found found = search(searcher, queries(), wanted);
        EXPECT_EQ(found.ids, right.ids);
        EXPECT_EQ(found.distances, right.distances);
        for (std::size_t q = 0; q < found.costs.size(); ++q) {
          EXPECT_GT(found.costs[q].rereads, 0U);
          EXPECT_EQ(found.costs[q].reads - found.costs[q].rereads, right.costs[q].reads);
          EXPECT_EQ(found.costs[q].code_distances, right.costs[q].code_distances);
          EXPECT_GT(found.costs[q].bytes, right.costs[q].bytes);
          EXPECT_GT(found.costs[q].rounds, right.costs[q].rounds);
          EXPECT_EQ(right.costs[q].rereads, 0U);
        }
      }
    }
  }
}

TEST_F(GraphReplica, ARecordThatIsDamagedEverywhereIsAnError) {
  const auto everywhere = [](std::uint32_t v) { return v % 10 == 3; };
  replica(everywhere);
  replica(everywhere);
  replica(everywhere);
  GraphSearcher searcher(replicated(), index().part());
  try {
    (void)search(searcher, queries(), request(4));
    FAIL() << "an answer";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    EXPECT_EQ(std::string(error.what()),
              "a record read from faulty://a,b is not what was written there; run tiervec verify");
  }
}

TEST_F(GraphReplica, ARecordWithARightCheckThatCannotBeIsAnErrorAtOnce) {
  auto bytes = index().records;
  for (std::uint32_t v = 0; v < index().options.count; ++v) {
    std::byte* record = bytes.data() + locate(v).offset;
    const std::vector<std::uint32_t> ids(index().written.layout.degree(record), 511);  // there are 300 vectors
    const std::vector<std::byte> vector(record, record + index().written.layout.vector_bytes());
    index().written.layout.encode(v, vector.data(), v, ids, record);
  }
  for (int i = 0; i < 2; ++i) {
    replicas_.push_back(std::make_shared<FaultyTier>(bytes));
    replicas_.back()->verified = false;
  }
  GraphSearcher searcher(replicated(), index().part());
  EXPECT_THROW((void)search(searcher, queries(), request(4)), Error);
}

TEST_F(GraphReplica, AReplicaThatFailsIsNotSeen) {
  GraphSearcher whole(rdma::DramTier::from_bytes(index().records), index().part());
  const Found right = search(whole, queries(), request(4));
  const auto first = replica([](std::uint32_t) { return false; });
  replica([](std::uint32_t) { return false; });
  first->fail_at = 7;
  first->fail_count = 1000;
  GraphSearcher searcher(replicated(), index().part());
  const Found found = search(searcher, queries(), request(4));
  EXPECT_EQ(found.ids, right.ids);
  for (const QueryCost& cost : found.costs) EXPECT_EQ(cost.rereads, 0U);
}

TEST_F(GraphReplica, AHotSetIsFilledFromWholeRecords) {
  GraphSearcher whole(rdma::DramTier::from_bytes(index().records), index().part());
  const Found right = search(whole, queries(), request(1));
  replica([](std::uint32_t v) { return v % 2 == 0; });
  replica([](std::uint32_t v) { return v % 2 == 1; });
  GraphSearcher searcher(replicated(), index().part());
  EXPECT_GT(searcher.fill_hot_set(10'000, 1, nullptr), 10U);
  const Found found = search(searcher, queries(), request(1));
  EXPECT_EQ(found.ids, right.ids);
  replicas_.clear();
  replica([](std::uint32_t v) { return v % 10 == 3; });
  replica([](std::uint32_t v) { return v % 10 == 3; });
  GraphSearcher hopeless(replicated(), index().part());
  EXPECT_THROW((void)hopeless.fill_hot_set(10'000, 1, nullptr), Error);
}

}  // namespace
}  // namespace tiervec::graph_index

// What a search does when a replica returns bytes that are not what was written: it reads the record from another one.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/replicated_tier.h>

#include "cluster_index/small_clusters.h"
#include "graph_index/faulty_tier.h"

namespace tiervec::cluster_index {
namespace {

using graph_index::testing::FaultyTier;
using testing::Found;
using testing::search;
using testing::SmallClusters;
using testing::SmallClustersOptions;
using testing::some_queries;

class ClusterReplica : public ::testing::TestWithParam<Layout> {
 protected:
  static SmallClustersOptions options() {
    SmallClustersOptions options;
    options.layout = GetParam();
    options.replicas = options.layout == Layout::kCoded ? 1 : 3;
    options.count = 300;
    return options;
  }
  // Reads of single records, of runs with gaps, and of whole clusters.
  static ClusterSearchRequest request(std::uint32_t coalesce_bytes) {
    ClusterSearchRequest request;
    request.parameters.k = 10;
    request.parameters.nprobe = 9;
    request.parameters.rerank = 60;
    request.parameters.coalesce_bytes = coalesce_bytes;
    return request;
  }

  /// A replica whose chosen records, in the order in which they lie, are damaged.
  std::shared_ptr<FaultyTier> replica(const std::function<bool(std::size_t)>& damaged) {
    auto bytes = index_.region;
    const std::size_t record_bytes = index_.part().record().bytes();
    for (std::size_t r = 0; (r + 1) * record_bytes + ClusterRecord::kOverread <= bytes.size(); ++r) {
      if (damaged(r)) bytes[r * record_bytes + r % record_bytes] ^= std::byte{8};
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

  const SmallClusters index_{options()};
  const std::vector<std::byte> queries_ = some_queries(index_, 5);
  std::vector<std::shared_ptr<FaultyTier>> replicas_;
};

TEST_P(ClusterReplica, ADamagedRecordIsReadFromAnotherReplica) {
  for (const std::uint32_t coalesce_bytes : {0U, 500U, 100'000U}) {
    for (const bool pipeline : {true, false}) {
      ClusterSearchRequest wanted = request(coalesce_bytes);
      wanted.parameters.pipeline = pipeline;
      ClusterSearcher whole(rdma::DramTier::from_bytes(index_.region), index_.part());
      const Found right = search(whole, queries_, wanted);
      // No record is whole on both of the first two; some are damaged on two in a row.
      replicas_.clear();
      replica([](std::size_t r) { return r % 2 == 0; });
      replica([](std::size_t r) { return r % 2 == 1 || r % 6 == 0; });
      replica([](std::size_t r) { return r % 5 == 1 && r % 6 != 0; });
      ClusterSearcher searcher(replicated(), index_.part());
      for (int repeat = 0; repeat < 3; ++repeat) {
        const Found found = search(searcher, queries_, wanted);
        EXPECT_EQ(found.ids, right.ids);
        EXPECT_EQ(found.distances, right.distances);
        for (std::size_t q = 0; q < found.costs.size(); ++q) {
          EXPECT_GT(found.costs[q].rereads, 0U);
          EXPECT_EQ(found.costs[q].reads - found.costs[q].rereads, right.costs[q].reads);
          EXPECT_GT(found.costs[q].bytes, right.costs[q].bytes);
          EXPECT_GT(found.costs[q].rounds, right.costs[q].rounds);
          EXPECT_EQ(right.costs[q].rereads, 0U);
        }
      }
    }
  }
}

TEST_P(ClusterReplica, ARecordThatIsDamagedEverywhereIsAnError) {
  const auto everywhere = [](std::size_t r) { return r % 10 == 3; };
  for (int i = 0; i < 3; ++i) replica(everywhere);
  ClusterSearcher searcher(replicated(), index_.part());
  try {
    (void)search(searcher, queries_, request(500));
    FAIL() << "an answer";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
    EXPECT_EQ(std::string(error.what()),
              "a record read from faulty://a,b is not what was written there; run tiervec verify");
  }
}

// The query after one that met damage begins at its queue's own replica again.
TEST_P(ClusterReplica, WithoutDamageNothingIsReadAgain) {
  ClusterSearcher whole(rdma::DramTier::from_bytes(index_.region), index_.part());
  const Found right = search(whole, queries_, request(0));
  replica([](std::size_t) { return false; });
  const auto second = replica([](std::size_t) { return true; });
  ClusterSearcher searcher(replicated(), index_.part());
  const Found found = search(searcher, queries_, request(0));
  EXPECT_EQ(found.ids, right.ids);
  for (const auto& cost : found.costs) EXPECT_EQ(cost.rereads, 0U);
  EXPECT_EQ(second->batches, 0U);
}

std::string name_of(const ::testing::TestParamInfo<Layout>& layout) {
  constexpr const char* kNames[] = {"coded", "grouped", "decoupled", "replicated"};
  return kNames[static_cast<std::size_t>(layout.param)];
}

INSTANTIATE_TEST_SUITE_P(EveryLayout, ClusterReplica,
                         ::testing::Values(Layout::kCoded, Layout::kGrouped, Layout::kDecoupled, Layout::kReplicated),
                         name_of);

TEST(ClusterForgery, ARecordWithARightCheckThatCannotBeIsAnErrorAtOnce) {
  SmallClustersOptions options;
  options.layout = Layout::kReplicated;
  options.count = 300;
  const SmallClusters index(options);
  auto bytes = index.region;
  const ClusterRecord layout = index.part().record();
  for (std::size_t at = 0; at + layout.bytes() + ClusterRecord::kOverread <= bytes.size(); at += layout.bytes()) {
    const std::vector<std::byte> vector(bytes.data() + at, bytes.data() + at + layout.vector_bytes);
    layout.encode(ClusterRecord::place_at(at), 511, vector.data(), bytes.data() + at);  // there are 300 vectors
  }
  std::vector<std::shared_ptr<rdma::Tier>> copies;
  for (int i = 0; i < 2; ++i) {
    auto copy = std::make_shared<FaultyTier>(bytes);
    copy->verified = false;
    copies.push_back(copy);
  }
  ClusterSearcher searcher(std::make_shared<rdma::ReplicatedTier>("faulty://a,b", copies), index.part());
  try {
    (void)search(searcher, some_queries(index, 1));
    FAIL() << "an answer";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  }
  EXPECT_EQ(static_cast<FaultyTier&>(*copies[0]).batches + static_cast<FaultyTier&>(*copies[1]).batches, 1U);
}

}  // namespace
}  // namespace tiervec::cluster_index

#include <tiervec/rdma/striped_tier.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>
#include <tiervec/rdma/replicated_tier.h>

#include "rdma/allocation_counter.h"
#include "rdma/composite_reads.h"
#include "rdma/fake_node.h"

namespace tiervec::rdma {
namespace {

using testing::FakeNode;
using testing::read_now;
using testing::set_reads;
using testing::wait_for;

constexpr std::uint64_t kRegionBytes = 5 * kStripeExtentBytes + 4321;

/// The bytes of one stripe, by the drawing at the top of striped_tier.h.
std::vector<std::byte> bytes_of_stripe(const std::vector<std::byte>& region, std::uint32_t stripes,
                                       std::uint32_t stripe) {
  std::vector<std::byte> bytes;
  for (std::uint64_t extent = stripe; extent * kStripeExtentBytes < region.size(); extent += stripes) {
    const auto begin = region.begin() + static_cast<std::ptrdiff_t>(extent * kStripeExtentBytes);
    bytes.insert(
        bytes.end(), begin,
        begin + std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(kStripeExtentBytes), region.end() - begin));
  }
  return bytes;
}

class StripedTierTest : public ::testing::Test {
 protected:
  std::shared_ptr<StripedTier> make(std::uint32_t stripes) {
    static const std::vector<std::byte> region = testing::region_of(kRegionBytes);
    nodes_.clear();
    std::vector<std::shared_ptr<Tier>> tiers;
    for (std::uint32_t i = 0; i < stripes; ++i) {
      nodes_.push_back(std::make_shared<FakeNode>(bytes_of_stripe(region, stripes, i)));
      all_nodes_.push_back(nodes_.back());
      tiers.push_back(nodes_.back());
    }
    return std::make_shared<StripedTier>("fake://a+b/region", std::move(tiers));
  }
  void TearDown() override {
    for (const auto& node : all_nodes_) {
      EXPECT_EQ(node->views, 0) << "views were not released";
      EXPECT_EQ(node->wrong_calls, 0U) << "more than a stripe's queue has room for";
    }
  }

  std::vector<std::shared_ptr<FakeNode>> nodes_;  // of the last tier made
  std::vector<std::shared_ptr<FakeNode>> all_nodes_;
  ReadBatch batch_;
};

TEST_F(StripedTierTest, KnowsHowMuchIsOnEachStripe) {
  for (const std::uint64_t size : {std::uint64_t{1}, kStripeExtentBytes, kStripeExtentBytes + 1, kRegionBytes}) {
    const std::vector<std::byte> region(size);
    for (const std::uint32_t stripes : {2U, 3U, 5U, 8U}) {
      for (std::uint32_t i = 0; i < stripes; ++i) {
        EXPECT_EQ(stripe_bytes(size, stripes, i), bytes_of_stripe(region, stripes, i).size()) << size << " " << i;
      }
    }
  }
}

TEST_F(StripedTierTest, SaysWhatItIs) {
  const auto tier = make(3);
  EXPECT_EQ(tier->size_bytes(), kRegionBytes);
  EXPECT_EQ(tier->url(), "fake://a+b/region");
  EXPECT_FALSE(tier->verified_at_open());
  EXPECT_EQ(tier->profile().reads_per_s, 3e6);
  EXPECT_EQ(tier->profile().latency_us, 10);
  const auto queue = tier->open_queue(2);
  EXPECT_TRUE(queue->available());
  nodes_[2]->die();
  EXPECT_FALSE(queue->available());
}

TEST_F(StripedTierTest, RefusesWhatIsNotOneRegion) {
  const auto node = [](std::uint64_t bytes) { return std::make_shared<FakeNode>(testing::region_of(bytes)); };
  const auto refusal = [](std::vector<std::shared_ptr<Tier>> stripes) {
    try {
      const StripedTier tier("fake://a+b/r", std::move(stripes));
      return std::string("accepted");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return std::string(error.what());
    }
  };
  EXPECT_EQ(refusal({}), "striped tier fake://a+b/r needs at least 2 stripes, got 0");
  EXPECT_EQ(refusal({node(5)}), "striped tier fake://a+b/r needs at least 2 stripes, got 1");
  EXPECT_EQ(refusal({node(5), node(5)}),
            "the stripes of fake://a+b/r are not one region: fake: has 5 bytes; stripe 0 of 2 of a region of 10 bytes "
            "has 10");
  EXPECT_NE(refusal({node(kStripeExtentBytes), node(kStripeExtentBytes + 1)}), "accepted");
  EXPECT_NE(refusal({nullptr, nullptr}), "accepted");
  EXPECT_NE(refusal({nullptr, node(5)}), "accepted");
  EXPECT_EQ(refusal({node(5), nullptr}), "accepted");
}

TEST_F(StripedTierTest, RefusesReadsLongerThanAnExtent) {
  const auto tier = make(2);
  EXPECT_THROW((void)tier->open_queue({.max_reads = 1, .max_read_bytes = kStripeExtentBytes + 1}), Error);
  const auto queue = tier->open_queue({.max_reads = 1, .max_read_bytes = kStripeExtentBytes});
  set_reads(batch_, {{12345, static_cast<std::uint32_t>(kStripeExtentBytes)}});
  EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
}

TEST_F(StripedTierTest, ReadsWhatIsThere) {
  std::mt19937_64 random(1);
  for (const std::uint32_t stripes : {2U, 3U, 6U, 7U}) {
    const auto tier = stripes == 7 ? nullptr : make(stripes);
    if (tier == nullptr) {
      continue;  // 6 extents: the seventh stripe is empty, which has a test of its own
    }
    const auto queue = tier->open_queue(ReadBatch::kMaxReads);
    for (int round = 0; round < 100; ++round) {
      batch_.count = 1 + static_cast<std::uint32_t>(random() % ReadBatch::kMaxReads);
      for (std::uint32_t i = 0; i < batch_.count; ++i) {
        const auto length = static_cast<std::uint32_t>(1 + random() % 600);
        const std::uint64_t border = (1 + random() % 5) * kStripeExtentBytes;
        batch_.reads[i] = random() % 4 == 0 ? Read{border - random() % length, length}
                                            : Read{random() % (kRegionBytes - length + 1), length};
        batch_.reads[i].offset = std::min(batch_.reads[i].offset, kRegionBytes - length);
      }
      ASSERT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
    }
    EXPECT_TRUE(queue->can_submit(ReadBatch::kMaxReads));
  }
}

TEST_F(StripedTierTest, ABatchOfReadsAcrossBordersFits) {
  const auto tier = make(2);
  const auto queue = tier->open_queue(ReadBatch::kMaxReads);
  batch_.count = ReadBatch::kMaxReads;
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t i = 0; i < batch_.count; ++i) {
      batch_.reads[i] = {(1 + i % 5) * kStripeExtentBytes - 1 - i, 2 * i + 2};
    }
    EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
  }
}

TEST_F(StripedTierTest, StripesThatHoldNothing) {
  const auto region = testing::region_of(kStripeExtentBytes + 10);
  std::vector<std::shared_ptr<Tier>> stripes = {DramTier::from_bytes(bytes_of_stripe(region, 4, 0)),
                                                DramTier::from_bytes(bytes_of_stripe(region, 4, 1)), nullptr, nullptr};
  const auto tier = std::make_shared<StripedTier>("fake://a+b+c+d/r", std::move(stripes));
  EXPECT_GT(tier->profile().latency_us, 0);
  EXPECT_TRUE(tier->verified_at_open());
  const auto queue = tier->open_queue(8);
  EXPECT_TRUE(queue->available());
  set_reads(batch_, {{kStripeExtentBytes - 5, 15}, {0, 64}});
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
  }
  set_reads(batch_, {{kStripeExtentBytes + 5, 15}});
  EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kInvalidArgument);
}

TEST_F(StripedTierTest, OneStripesFailureIsTheBatchsAndLeavesNothingBehind) {
  const auto tier = make(3);
  const auto queue = tier->open_queue(8);
  nodes_[1]->die();
  set_reads(batch_, {{0, 64}, {kStripeExtentBytes, 64}, {2 * kStripeExtentBytes - 10, 64}});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kUnavailable);
    EXPECT_TRUE(queue->can_submit(8));
    EXPECT_EQ(queue->in_flight(), 0U);
  }
  set_reads(batch_, {{0, 64}, {2 * kStripeExtentBytes, 64}});
  EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk) << "what does not need that stripe goes on";
}

TEST_F(StripedTierTest, AFailureDoesNotWaitForAStripeThatHangs) {
  const auto tier = make(2);
  const auto queue = tier->open_queue(8);
  nodes_[0]->hang();
  nodes_[1]->die();
  set_reads(batch_, {{0, 64}, {kStripeExtentBytes, 64}});
  EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kUnavailable);
}

TEST_F(StripedTierTest, ACancelEndsAllParts) {
  const auto tier = make(2);
  const auto queue = tier->open_queue(8);
  nodes_[0]->hang();
  set_reads(batch_, {{0, 64}, {kStripeExtentBytes - 3, 64}});
  for (int i = 0; i < 3; ++i) {
    queue->submit(batch_);
    queue->flush();
    ReadBatch* done[1];
    ASSERT_EQ(queue->poll(done), 0U);
    queue->cancel(batch_);
    queue->cancel(batch_);
    ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
    EXPECT_EQ(batch_.error, ErrorCode::kCancelled);
    queue->cancel(batch_);
    EXPECT_TRUE(queue->can_submit(8));
  }
}

TEST_F(StripedTierTest, DoesNotAllocate) {
  const auto tier = make(3);
  const auto queue = tier->open_queue(64);
  ReadBatch* done[1];
  const auto rounds = [&](int count) {
    for (int round = 0; round < count; ++round) {
      batch_.count = 32;
      for (std::uint32_t i = 0; i < batch_.count; ++i) {
        batch_.reads[i] = {(1 + i % 5) * kStripeExtentBytes - i * 3, 256};
      }
      queue->submit(batch_);
      queue->flush();
      while (queue->poll(done) == 0) {
      }
      queue->release(batch_);
    }
  };
  rounds(3);
  const std::uint64_t before = testing::allocation_count;
  rounds(50);
  EXPECT_EQ(testing::allocation_count, before);
}

TEST_F(StripedTierTest, AQueueMayGoWithBatchesInFlight) {
  const auto tier = make(3);
  auto queue = tier->open_queue(64);
  auto batches = std::make_unique<std::vector<ReadBatch>>(5);
  for (ReadBatch& batch : *batches) {
    set_reads(batch, {{kStripeExtentBytes - 10, 20}, {5, 5}});
    queue->submit(batch);
  }
  queue->flush();
  ReadBatch* done[2];
  (void)queue->poll(done);
  queue.reset();
  batches.reset();
  ReadBatch batch;
  set_reads(batch, {{kStripeExtentBytes - 10, 20}});
  EXPECT_EQ(testing::read_now(*tier->open_queue(64), batch), ErrorCode::kOk);
}

TEST_F(StripedTierTest, ReplicasOfStripes) {
  const auto first = make(2);
  const auto nodes_of_first = nodes_;
  const auto second = make(3);
  const auto tier =
      std::make_shared<ReplicatedTier>("fake://a+b,c+d+e/region", std::vector<std::shared_ptr<Tier>>{first, second});
  const auto queue = tier->open_queue(64);
  engine::Worker worker(*queue, 8);
  testing::WalkOutcome outcome;
  std::uint64_t seed = 0;
  worker.run([&]() -> engine::Task<void> {
    if (seed == 40) {
      nodes_of_first[1]->die();
    }
    if (seed == 80) {
      nodes_of_first[1]->restart();
    }
    return seed < 120 ? testing::walk(worker, kRegionBytes, ++seed, 10, outcome) : engine::Task<void>();
  });
  EXPECT_EQ(outcome.good, 1200U);
  EXPECT_EQ(outcome.failed, 0U);
  EXPECT_EQ(outcome.wrong, 0U);
  EXPECT_GT(nodes_[2]->answered, 0U);
}

}  // namespace
}  // namespace tiervec::rdma

// What a tier returns: the right bytes, all of them, for every valid range, and an error for every other.

#include <algorithm>
#include <limits>
#include <set>
#include <thread>

#include "conformance/tier_fixture.h"
#include "rdma/allocation_counter.h"

namespace tiervec::rdma::conformance {
namespace {

using testing::allocation_count;
using TierRead = TierTest;

constexpr std::uint32_t kMostBytes = QueueLimits{}.max_read_bytes;

TEST_P(TierRead, RandomRanges) {
  const auto queue = tier_->open_queue(ReadBatch::kMaxReads);
  std::mt19937_64 random(1);
  ReadBatch batch;
  for (int i = 0; i < 200; ++i) {
    set_random_reads(batch, random, 1 + static_cast<std::uint32_t>(random() % ReadBatch::kMaxReads),
                     i < 190 ? 600 : 9000);
    ASSERT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  }
}

TEST_P(TierRead, EdgesOfTheRegion) {
  const auto queue = tier_->open_queue(ReadBatch::kMaxReads);
  ReadBatch batch;
  set_reads(batch, {{0, 1},
                    {0, kMostBytes},
                    {kRegionBytes - 1, 1},
                    {kRegionBytes - 37, 37},
                    {kRegionBytes - kMostBytes, kMostBytes},
                    {4095, 2},
                    {511, 514},
                    {63, 1}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
}

TEST_P(TierRead, SameBytesTwiceInOneBatch) {
  const auto queue = tier_->open_queue(ReadBatch::kMaxReads);
  ReadBatch batch;
  set_reads(batch, std::vector<Read>(ReadBatch::kMaxReads, Read{777, 200}));
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
}

TEST_P(TierRead, RefusesWhatIsNotInTheRegion) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const auto queue = tier_->open_queue(64);
  ReadBatch batch;
  for (const Read bad :
       {Read{0, 0}, Read{kRegionBytes, 1}, Read{kRegionBytes, 0}, Read{kRegionBytes - 36, 37},
        Read{kRegionBytes - 1, kMostBytes}, Read{kMost, 1}, Read{kMost, 64}, Read{kMost - 63, 64},
        Read{0, kMostBytes + 1}, Read{0, std::numeric_limits<std::uint32_t>::max()},
        Read{kMost - 5, std::numeric_limits<std::uint32_t>::max()}, Read{std::uint64_t{1} << 63U, 64}}) {
    for (const std::vector<Read>& reads : {std::vector<Read>{bad}, {{0, 64}, bad}, {bad, {64, 64}}}) {
      set_reads(batch, reads);
      EXPECT_EQ(read_now(*queue, batch), ErrorCode::kInvalidArgument) << bad.length << " bytes at " << bad.offset;
    }
    set_reads(batch, {{100, 64}});
    EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk) << "the queue goes on";
  }
}

TEST_P(TierRead, KeepsTheQueuesOwnReadLimit) {
  const auto queue = tier_->open_queue({.max_reads = 4, .max_read_bytes = 100});
  ReadBatch batch;
  set_reads(batch, {{5, 100}, {9, 1}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  set_reads(batch, {{5, 101}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kInvalidArgument);
}

TEST_P(TierRead, BatchesInFlightTogether) {
  constexpr std::uint32_t kBatches = 24;
  const auto queue = tier_->open_queue(kBatches * 8);
  std::mt19937_64 random(2);
  std::vector<ReadBatch> batches(kBatches);
  std::size_t in_flight = 0;
  std::size_t completed = 0;
  std::set<ReadBatch*> submitted;
  ReadBatch* done[5];
  for (int turn = 0; completed < 500; ++turn) {
    ASSERT_LT(turn, 50'000'000);
    for (ReadBatch& batch : batches) {
      if (!submitted.contains(&batch) && random() % 3 == 0) {
        set_random_reads(batch, random, 1 + static_cast<std::uint32_t>(random() % 8), 300);
        ASSERT_TRUE(queue->can_submit(batch.count));
        queue->submit(batch);
        submitted.insert(&batch);
        ASSERT_EQ(queue->in_flight(), ++in_flight);
      }
    }
    queue->flush();
    const std::size_t count = queue->poll(done);
    in_flight -= count;
    completed += count;
    ASSERT_EQ(queue->in_flight(), in_flight);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(submitted.erase(done[i]), 1U) << "a batch came back twice, or was never submitted";
      ASSERT_EQ(done[i]->error, ErrorCode::kOk);
      ASSERT_EQ(view_error(*done[i]), "");
      queue->release(*done[i]);
    }
  }
  EXPECT_EQ(wait_for(*queue, in_flight).size(), in_flight);
}

TEST_P(TierRead, ViewsStayUntilRelease) {
  const auto queue = tier_->open_queue(64);
  std::mt19937_64 random(3);
  ReadBatch held;
  set_random_reads(held, random, 32, 2000);
  queue->submit(held);
  ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
  ReadBatch other;
  for (int i = 0; i < 50; ++i) {
    set_random_reads(other, random, 32, 2000);
    ASSERT_EQ(read_now(*queue, other), ErrorCode::kOk);
  }
  EXPECT_EQ(view_error(held), "");
  queue->release(held);
}

TEST_P(TierRead, RoomIsBoundedAndComesBack) {
  const auto queue = tier_->open_queue(10);
  EXPECT_TRUE(queue->can_submit(10));
  EXPECT_FALSE(queue->can_submit(11));
  std::vector<ReadBatch> batches(3);
  for (int round = 0; round < 20; ++round) {
    set_reads(batches[0], std::vector<Read>(4, Read{10, 64}));
    set_reads(batches[1], std::vector<Read>(5, Read{99, 64}));
    set_reads(batches[2], {{std::numeric_limits<std::uint64_t>::max(), 8}});  // an invalid batch takes room too
    for (ReadBatch& batch : batches) {
      ASSERT_TRUE(queue->can_submit(batch.count));
      queue->submit(batch);
    }
    EXPECT_FALSE(queue->can_submit(1));
    ASSERT_EQ(wait_for(*queue, 3).size(), 3U);
    queue->release(batches[0]);
    queue->release(batches[1]);
    ASSERT_TRUE(queue->can_submit(10));
  }
}

TEST_P(TierRead, PollReturnsTheRestLater) {
  const auto queue = tier_->open_queue(16);
  ReadBatch* none[1];
  queue->flush();
  EXPECT_EQ(queue->poll(none), 0U);
  std::vector<ReadBatch> batches(6);
  for (ReadBatch& batch : batches) {
    set_reads(batch, {{1, 64}});
    queue->submit(batch);
  }
  queue->flush();
  EXPECT_EQ(queue->poll(std::span<ReadBatch*>()), 0U);
  std::vector<ReadBatch*> done = wait_for(*queue, 6, 1);
  std::sort(done.begin(), done.end());
  ASSERT_EQ(done.size(), 6U);
  EXPECT_EQ(std::unique(done.begin(), done.end()), done.end());
  EXPECT_EQ(queue->poll(none), 0U);
}

TEST_P(TierRead, ManyQueuesInThreads) {
  std::vector<std::jthread> threads;
  for (std::uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      const auto queue = tier_->open_queue(64);
      std::mt19937_64 random(thread);
      ReadBatch batch;
      for (int i = 0; i < 60; ++i) {
        set_random_reads(batch, random, 16, 500);
        EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
      }
    });
  }
}

TEST_P(TierRead, DoesNotAllocate) {
  const auto queue = tier_->open_queue(64);
  ReadBatch good;
  ReadBatch bad;
  ReadBatch* done[2];
  const auto rounds = [&](int count) {
    for (int i = 0; i < count; ++i) {
      good.count = 16;
      for (std::uint32_t read = 0; read < good.count; ++read) {
        good.reads[read] = {read * 5000, 256};
      }
      bad.count = 1;
      bad.reads[0] = {kRegionBytes, 1};
      queue->submit(good);
      queue->submit(bad);
      queue->flush();
      for (std::size_t got = 0; got < 2;) {
        got += queue->poll(done);
      }
      queue->release(good);
    }
  };
  rounds(10);
  const std::uint64_t before = allocation_count;
  rounds(100);
  EXPECT_EQ(allocation_count, before);
}

TIERVEC_ON_EVERY_TIER(TierRead);

}  // namespace
}  // namespace tiervec::rdma::conformance

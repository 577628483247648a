#include <tiervec/rdma/replicated_tier.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "rdma/allocation_counter.h"
#include "rdma/composite_reads.h"
#include "rdma/fake_node.h"
#include "rdma/passing_time.h"

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;
using testing::FakeNode;
using testing::read_now;
using testing::set_reads;
using testing::wait_for;

constexpr std::uint64_t kRegionBytes = 100'000;

class ReplicatedTierTest : public ::testing::Test {
 protected:
  void make(std::uint32_t count) {
    nodes_.clear();
    std::vector<std::shared_ptr<Tier>> replicas;
    for (std::uint32_t i = 0; i < count; ++i) {
      nodes_.push_back(std::make_shared<FakeNode>(testing::region_of(kRegionBytes)));
      replicas.push_back(nodes_.back());
    }
    tier_ = std::make_shared<ReplicatedTier>("fake://a,b/region", std::move(replicas), time_);
  }
  void SetUp() override { make(2); }
  void TearDown() override {
    for (const auto& node : nodes_) {
      EXPECT_EQ(node->views, 0) << "views were not released";
      EXPECT_EQ(node->wrong_calls, 0U) << "more than a replica's queue has room for";
    }
  }
  /// Runs one batch alone and lets 10 ms pass after each look; how many milliseconds it took.
  int ms_to_read(TierQueue& queue) {
    ReadBatch* done[1];
    queue.submit(batch_);
    queue.flush();
    for (int ms = 0;; ms += 10) {
      if (queue.poll(done) == 1) {
        if (batch_.error == ErrorCode::kOk) queue.release(batch_);
        return ms;
      }
      clock_.advance(10ms);
    }
  }
  /// Waits until the node answers a batch more; false after a minute.
  [[nodiscard]] static bool answers_more(const FakeNode& node) {
    const std::uint64_t before = node.answered;
    const auto give_up = std::chrono::steady_clock::now() + 60s;
    while (node.answered == before && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(100us);
    }
    return node.answered > before;
  }
  [[nodiscard]] std::uint64_t batches() const {
    std::uint64_t sum = 0;
    for (const auto& node : nodes_) {
      sum += node->batches;
    }
    return sum;
  }

  std::vector<std::shared_ptr<FakeNode>> nodes_;
  std::shared_ptr<ReplicatedTier> tier_;
  ReadBatch batch_;
  ManualClock clock_;
  TimeSource time_{clock_};
};

TEST_F(ReplicatedTierTest, SaysWhatItIs) {
  EXPECT_EQ(tier_->url(), "fake://a,b/region");
  EXPECT_EQ(tier_->size_bytes(), kRegionBytes);
  EXPECT_EQ(tier_->replicas(), 2U);
  EXPECT_EQ(nodes_[0]->replicas(), 1U);
  EXPECT_FALSE(tier_->verified_at_open());
  EXPECT_EQ(tier_->profile().reads_per_s, 1e6);
  EXPECT_TRUE(tier_->open_queue(1)->available());
}

TEST_F(ReplicatedTierTest, RefusesWhatIsNotOneRegion) {
  EXPECT_THROW(ReplicatedTier("x", {}), Error);
  try {
    const ReplicatedTier tier("fake://a,b/r", {nodes_[0], std::make_shared<FakeNode>(testing::region_of(7), "fake:b")});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()),
              "the replicas of fake://a,b/r are not the same region: fake: has 100000 bytes, fake:b has 7");
  }
}

TEST_F(ReplicatedTierTest, QueuesSpreadOverTheReplicasAndStayThere) {
  const auto first = tier_->open_queue(4);
  const auto second = tier_->open_queue(4);
  set_reads(batch_, {{7, 100}, {5000, 64}});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(read_now(*first, batch_), ErrorCode::kOk);
  }
  EXPECT_EQ(nodes_[0]->answered, 10U);
  EXPECT_EQ(nodes_[1]->answered, 0U);
  EXPECT_EQ(read_now(*second, batch_), ErrorCode::kOk);
  EXPECT_EQ(nodes_[1]->answered, 1U);
}

TEST_F(ReplicatedTierTest, WhatADeadReplicaHadIsReadFromAnother) {
  const auto queue = tier_->open_queue(64);
  std::vector<ReadBatch> batches(16);
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    set_reads(batches[i], {{i * 1000, 300}, {i * 77, 1}});
    queue->submit(batches[i]);
    if (i == 7) {
      queue->flush();
      nodes_[0]->die();  // half was sent, half was not
    }
  }
  const std::vector<ReadBatch*> done = wait_for(*queue, batches.size());
  ASSERT_EQ(done.size(), batches.size());
  EXPECT_EQ(queue->in_flight(), 0U);
  for (ReadBatch& batch : batches) {
    EXPECT_EQ(batch.error, ErrorCode::kOk);
    EXPECT_TRUE(testing::views_are_right(batch));
    queue->release(batch);
  }
  EXPECT_EQ(nodes_[1]->answered, batches.size());
  ASSERT_EQ(tier_->counters().size(), 1U);
  EXPECT_EQ(tier_->counters()[0].name, "passed_on");
  EXPECT_EQ(tier_->counters()[0].value, batches.size());
  const std::uint64_t sent_to_the_dead = nodes_[0]->batches;
  for (int i = 0; i < 20; ++i) {
    set_reads(batch_, {{1, 1}});
    EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
  }
  EXPECT_EQ(nodes_[0]->batches, sent_to_the_dead) << "a replica that is not available is left alone";
  EXPECT_TRUE(queue->can_submit(64));
}

TEST_F(ReplicatedTierTest, AHangingReplicaIsReplacedAfterItsTimeOut) {
  const auto queue = tier_->open_queue(4);
  nodes_[0]->hang();
  set_reads(batch_, {{7, 100}});
  queue->submit(batch_);
  queue->flush();
  ReadBatch* done[1];
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(queue->poll(done), 0U);
  }
  nodes_[0]->die();
  ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
  EXPECT_EQ(batch_.error, ErrorCode::kOk);
  queue->release(batch_);
}

TEST_F(ReplicatedTierTest, AReplicaThatIsBackIsUsedAgain) {
  for (const bool shows_availability : {true, false}) {
    make(2);
    nodes_[0]->shows_availability = shows_availability;
    const auto queue = tier_->open_queue(4);
    set_reads(batch_, {{7, 100}});
    nodes_[0]->die();
    EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
    EXPECT_EQ(nodes_[0]->answered, 0U);
    nodes_[0]->restart();
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
    }
    EXPECT_EQ(nodes_[0]->answered, 0U) << "it is left alone for 10 ms";
    clock_.advance(11ms);
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(read_now(*queue, batch_), ErrorCode::kOk);
    }
    EXPECT_GE(nodes_[0]->answered, 100U);
  }
}

TEST_F(ReplicatedTierTest, ReplicasWithoutBatchesArePolled) {
  const auto queue = tier_->open_queue(4);
  set_reads(batch_, {{7, 100}});
  ReadBatch* done[1];
  for (int i = 0; i < 1000; ++i) {
    (void)queue->poll(done);
  }
  EXPECT_GT(nodes_[0]->polls, 5U);
  EXPECT_GT(nodes_[1]->polls, 5U);
}

TEST_F(ReplicatedTierTest, WithoutAnyReplicaABatchFailsAfterAWhileAndTheNextAtOnce) {
  const auto queue = tier_->open_queue(4);
  nodes_[0]->die();
  nodes_[1]->die();
  EXPECT_FALSE(queue->available());
  set_reads(batch_, {{7, 100}});
  const int ms = ms_to_read(*queue);
  EXPECT_EQ(batch_.error, ErrorCode::kUnavailable);
  EXPECT_GE(ms, 1000);
  EXPECT_LE(ms, 1020);
  const std::uint64_t before = batches();
  EXPECT_EQ(ms_to_read(*queue), 0);
  EXPECT_EQ(batch_.error, ErrorCode::kUnavailable);
  EXPECT_EQ(batches(), before + 2) << "every replica is asked once, and not again and again";
  EXPECT_TRUE(queue->can_submit(4));
  nodes_[1]->restart();
  for (int i = 0; i < 200; ++i) {  // a replica without batches is looked at now and then
    clock_.advance(10ms);
    (void)ms_to_read(*queue);
  }
  EXPECT_EQ(batch_.error, ErrorCode::kOk) << "and then it goes on";
}

TEST_F(ReplicatedTierTest, AnOutageOfAMomentIsNotSeen) {
  const auto queue = tier_->open_queue(4);
  nodes_[0]->die();
  nodes_[1]->die();
  set_reads(batch_, {{7, 100}});
  queue->submit(batch_);
  queue->flush();
  ReadBatch* done[1];
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(queue->poll(done), 0U) << "held";
  }
  EXPECT_EQ(queue->in_flight(), 1U);
  nodes_[1]->restart();
  // Time passes until the node is asked: the outage is over then, however long it takes to answer.
  const std::uint64_t asked = nodes_[1]->batches;
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  std::size_t ended = 0;
  while (ended == 0 && std::chrono::steady_clock::now() < give_up) {
    queue->flush();
    ended = queue->poll(done);
    if (ended == 0 && nodes_[1]->batches == asked) clock_.advance(1ms);
  }
  ASSERT_EQ(ended, 1U);
  EXPECT_EQ(batch_.error, ErrorCode::kOk);
  EXPECT_TRUE(testing::views_are_right(batch_));
  queue->release(batch_);
}

TEST_F(ReplicatedTierTest, ACancelEndsABatchWhereverItIs) {
  const auto queue = tier_->open_queue(4);
  set_reads(batch_, {{7, 100}});
  const auto ended = [&] {
    queue->cancel(batch_);
    queue->cancel(batch_);
    EXPECT_EQ(wait_for(*queue, 1), std::vector<ReadBatch*>{&batch_});
    queue->cancel(batch_);
    EXPECT_TRUE(queue->can_submit(4));
    EXPECT_EQ(queue->in_flight(), 0U);
    return batch_.error;
  };
  nodes_[0]->hang();
  queue->submit(batch_);
  queue->flush();
  EXPECT_EQ(ended(), ErrorCode::kCancelled) << "with a replica that hangs";
  queue->submit(batch_);
  queue->flush();
  queue->cancel(batch_);
  nodes_[0]->die();
  const std::uint64_t elsewhere = nodes_[1]->batches;
  EXPECT_EQ(ended(), ErrorCode::kCancelled) << "with a replica that died meanwhile";
  EXPECT_EQ(nodes_[1]->batches, elsewhere) << "what was cancelled is not read from another one";
  nodes_[1]->die();
  queue->submit(batch_);
  queue->flush();
  ReadBatch* done[1];
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(queue->poll(done), 0U);
  }
  EXPECT_EQ(ended(), ErrorCode::kCancelled) << "held";
}

TEST_F(ReplicatedTierTest, WhatIsWrongWithABatchIsNotTriedTwice) {
  const auto queue = tier_->open_queue(4);
  set_reads(batch_, {{kRegionBytes, 1}});
  EXPECT_EQ(read_now(*queue, batch_), ErrorCode::kInvalidArgument);
  EXPECT_EQ(batches(), 1U);
}

TEST_F(ReplicatedTierTest, EachAttemptIsAnsweredByAnotherReplica) {
  make(3);
  const auto queue = tier_->open_queue(4);
  nodes_[0]->harm(50);
  nodes_[1]->harm(50);
  set_reads(batch_, {{0, 100}});
  const auto is_right = [&] {
    queue->submit(batch_);
    queue->flush();
    EXPECT_EQ(wait_for(*queue, 1).size(), 1U);
    EXPECT_EQ(batch_.error, ErrorCode::kOk);
    const bool right = testing::views_are_right(batch_);
    queue->release(batch_);
    return right;
  };
  batch_.attempt = 0;
  EXPECT_FALSE(is_right());
  batch_.attempt = 1;
  EXPECT_FALSE(is_right());
  batch_.attempt = 2;
  EXPECT_TRUE(is_right());
  for (const auto& node : nodes_) {
    EXPECT_EQ(node->answered, 1U);
  }
  batch_.attempt = 0;
  EXPECT_FALSE(is_right()) << "a new read goes home";
  EXPECT_EQ(nodes_[0]->answered, 2U);
}

TEST_F(ReplicatedTierTest, FailingOverDoesNotAllocate) {
  const auto queue = tier_->open_queue(64);
  ReadBatch batches[4];
  ReadBatch* done[4];
  const auto rounds = [&](int count) {
    for (int round = 0; round < count; ++round) {
      nodes_[round % 2]->die();
      for (ReadBatch& batch : batches) {
        batch.count = 16;
        for (std::uint32_t i = 0; i < batch.count; ++i) {
          batch.reads[i] = {i * 5000, 256};
        }
        queue->submit(batch);
      }
      queue->flush();
      nodes_[round % 2]->restart();
      for (std::size_t got = 0; got < 4;) {
        got += queue->poll(done);
        clock_.advance(1ms);
      }
      for (ReadBatch& batch : batches) {
        if (batch.error == ErrorCode::kOk) {
          queue->release(batch);
        }
      }
    }
  };
  rounds(3);
  const std::uint64_t before = testing::allocation_count;
  rounds(20);
  EXPECT_EQ(testing::allocation_count, before);
}

TEST_F(ReplicatedTierTest, AQueueMayGoWithBatchesAnywhere) {
  for (int state = 0; state < 3; ++state) {
    make(2);
    auto queue = tier_->open_queue(64);
    auto batches = std::make_unique<std::vector<ReadBatch>>(6);
    for (ReadBatch& batch : *batches) {
      set_reads(batch, {{1, 10}});
      queue->submit(batch);
      queue->flush();
      if (state > 0) {
        nodes_[0]->hang();
      }
      if (state > 1) {
        nodes_[0]->die();
        nodes_[1]->die();
        ReadBatch* done[1];
        (void)queue->poll(done);
      }
    }
    queue.reset();
    batches.reset();
    nodes_[0]->restart();
    set_reads(batch_, {{1, 10}});
    EXPECT_EQ(read_now(*tier_->open_queue(4), batch_), ErrorCode::kOk) << "in state " << state;
  }
}

// The test of the whole: threads search while one replica after the other dies, hangs and comes back.
TEST_F(ReplicatedTierTest, SearchesGoOnWhileReplicasComeAndGo) {
  time_ = {};
  make(2);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> good{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> failed{0};
  std::vector<std::jthread> searchers;
  for (std::uint64_t thread = 0; thread < 3; ++thread) {
    searchers.emplace_back([&, thread] {
      const auto queue = tier_->open_queue(64);
      engine::Worker worker(*queue, 8);
      testing::WalkOutcome outcome;
      std::uint64_t seed = thread;
      worker.run([&]() -> engine::Task<void> {
        return stop ? engine::Task<void>() : testing::walk(worker, kRegionBytes, seed += 3, 20, outcome);
      });
      good += outcome.good;
      wrong += outcome.wrong;
      failed += outcome.failed;
    });
  }
  EXPECT_TRUE(answers_more(*nodes_[0]));
  EXPECT_TRUE(answers_more(*nodes_[1]));
  std::mt19937 random(3);
  for (int turn = 0; turn < 40; ++turn) {
    FakeNode& node = *nodes_[turn % 2];
    if (random() % 3 == 0) {
      node.hang();
      std::this_thread::sleep_for(1ms);
    }
    node.die();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
    node.restart();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
  }
  for (int turn = 0; turn < 2; ++turn) {
    nodes_[turn]->die();
    EXPECT_TRUE(answers_more(*nodes_[1 - turn])) << "with node " << turn << " away";
    nodes_[turn]->restart();
  }
  stop = true;
  searchers.clear();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(failed, 0U);
  EXPECT_GT(good, 100U);
}

TEST_F(ReplicatedTierTest, ADeadlineEndsWhatNoReplicaAnswers) {
  nodes_[0]->hang();
  nodes_[1]->die();
  const auto queue = tier_->open_queue(64);
  engine::Worker worker(*queue, 4, PollingBudget::of_process(), time_);
  const testing::PassingTime passing(clock_);
  testing::WalkOutcome outcome;
  int left = 4;
  worker.run([&]() -> engine::Query {
    if (left-- == 0) {
      return {};
    }
    return {testing::walk(worker, kRegionBytes, 1, 20, outcome), clock_.after(20ms)};
  });
  EXPECT_EQ(outcome.failed, 4U);
  EXPECT_EQ(queue->in_flight(), 0U);
}

}  // namespace
}  // namespace tiervec::rdma

// What happens around the reads: opening, cancelling, destroying.

#include <sys/wait.h>
#include <unistd.h>

#include <tiervec/rdma/tier_registry.h>

#include "conformance/tier_fixture.h"

namespace tiervec::rdma::conformance {
namespace {

using TierLifetime = TierTest;

template <class Act>
ErrorCode code_of(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.code();
  }
  return ErrorCode::kOk;
}

TEST_P(TierLifetime, SaysWhatItIs) {
  EXPECT_EQ(tier_->size_bytes(), kRegionBytes);
  EXPECT_EQ(parse_tier_url(tier_->url()).text, tier_->url());
  const DeviceProfile profile = tier_->profile();
  EXPECT_GT(profile.latency_us, 0);
  EXPECT_GT(profile.reads_per_s, 0);
  EXPECT_GT(profile.bytes_per_s, 0);
  EXPECT_GT(profile.block_bytes, 0U);
  EXPECT_FALSE(profile.source.empty());
  EXPECT_EQ(profile.emulated, parse_tier_url(tier_->url()).scheme == "emulated");
}

TEST_P(TierLifetime, RefusesRegionsThatAreNone) {
  const auto opening = [&](const std::filesystem::path& path) { return [&, path] { GetParam().open(path.string()); }; };
  EXPECT_EQ(code_of(opening(folder() / "absent")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(opening(folder())), ErrorCode::kInvalidArgument);
  const std::filesystem::path empty = folder() / "empty";
  std::ofstream{empty};
  EXPECT_EQ(code_of(opening(empty)), ErrorCode::kDataLoss);
}

TEST_P(TierLifetime, OpensARegionOfOneByte) {
  tier_.reset();  // a device has room for one region
  const std::filesystem::path path = folder() / "byte";
  std::ofstream(path) << static_cast<char>(region_byte(0));
  const auto queue = GetParam().open(path.string())->open_queue(1);
  ReadBatch batch;
  set_reads(batch, {{0, 1}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  set_reads(batch, {{0, 2}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kInvalidArgument);
  set_reads(batch, {{1, 1}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kInvalidArgument);
}

TEST_P(TierLifetime, RefusesQueuesWithoutRoom) {
  EXPECT_EQ(code_of([&] { (void)tier_->open_queue(0); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { (void)tier_->open_queue({.max_reads = 1, .max_read_bytes = 0}); }),
            ErrorCode::kInvalidArgument);
}

TEST_P(TierLifetime, QueueKeepsItsTier) {
  const auto queue = tier_->open_queue(8);
  tier_.reset();
  ReadBatch batch;
  set_reads(batch, {{12345, 678}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
}

TEST_P(TierLifetime, CancelledBatchComesBackOnce) {
  const auto queue = tier_->open_queue(64);
  std::vector<ReadBatch> batches(8);
  for (int round = 0; round < 30; ++round) {
    for (ReadBatch& batch : batches) {
      set_reads(batch, {{1000, 64}, {5000, 64}});
      queue->submit(batch);
    }
    if (round % 2 == 0) {
      queue->flush();
    }
    for (const std::size_t cancelled : {0, 3, 7, 3}) {  // one of them twice
      queue->cancel(batches[cancelled]);
    }
    EXPECT_EQ(queue->in_flight(), batches.size());
    const std::vector<ReadBatch*> done = wait_for(*queue, batches.size());
    ASSERT_EQ(done.size(), batches.size());
    EXPECT_EQ(queue->in_flight(), 0U);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const bool asked = i == 0 || i == 3 || i == 7;
      EXPECT_TRUE(batches[i].error == ErrorCode::kOk || (asked && batches[i].error == ErrorCode::kCancelled));
      if (batches[i].error == ErrorCode::kOk) {
        EXPECT_EQ(view_error(batches[i]), "");
        queue->release(batches[i]);
      }
    }
    ReadBatch* late[1];
    EXPECT_EQ(queue->poll(late), 0U) << "a batch came back twice";
    EXPECT_TRUE(queue->can_submit(64)) << "a cancelled batch kept its room";
  }
}

TEST_P(TierLifetime, LateCompletionDoesNotDisturbAReusedBatch) {
  const auto queue = tier_->open_queue(64);
  ReadBatch batch;
  for (std::uint64_t round = 0; round < 50; ++round) {
    set_reads(batch, {{round * 100, 3000}});
    queue->submit(batch);
    queue->flush();
    queue->cancel(batch);
    ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
    if (batch.error == ErrorCode::kOk) {
      queue->release(batch);
    }
    // The same batch again, for other bytes: what the device still delivers for the first must not end up here.
    set_reads(batch, {{500'000 + round * 7, 200}, {round, 64}});
    ASSERT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  }
}

TEST_P(TierLifetime, CancelDoesNotMakeAnInvalidBatchValid) {
  const auto queue = tier_->open_queue(4);
  ReadBatch batch;
  set_reads(batch, {{kRegionBytes, 64}});
  queue->submit(batch);
  queue->cancel(batch);
  ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
  EXPECT_NE(batch.error, ErrorCode::kOk);
}

TEST_P(TierLifetime, QueueMayGoWithReadsInFlight) {
  for (int round = 0; round < 10; ++round) {
    auto batches = std::make_unique<std::vector<ReadBatch>>(16);
    auto queue = tier_->open_queue(256);
    std::mt19937_64 random(static_cast<std::uint64_t>(round));
    for (ReadBatch& batch : *batches) {
      set_random_reads(batch, random, 16, 400);
      queue->submit(batch);
      if (random() % 2 == 0) {
        queue->flush();
      }
    }
    if (round % 2 == 0) {
      queue.reset();
      batches.reset();  // whoever writes into them now is caught by AddressSanitizer
    } else {
      ReadBatch* done[3];
      for (std::size_t i = queue->poll(done); i > 0; --i) {
        EXPECT_EQ(view_error(*done[i - 1]), "");  // some views are never released
      }
      queue.reset();
    }
  }
  const auto queue = tier_->open_queue(8);
  ReadBatch batch;
  set_reads(batch, {{4242, 42}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk) << "the tier goes on";
}

/// What a forked child finds: it reads through a queue of its own, and destroys the one that it inherited. 0: all
/// right.
int read_in_child(Tier& tier, std::unique_ptr<TierQueue>& inherited) {
  int status = 0;
  try {
    const auto own = tier.open_queue(8);
    for (std::uint64_t i = 0; i < 20 && status == 0; ++i) {
      ReadBatch batch;
      set_reads(batch, {{i * 4099, 42}, {i * 8191, 300}});
      own->submit(batch);
      if (wait_for(*own, 1).empty() || batch.error != ErrorCode::kOk || !view_error(batch).empty()) {
        status = 1;
      } else {
        own->release(batch);
      }
    }
  } catch (const Error& error) {
    status = error.code() == ErrorCode::kUnsupported && tier.url().starts_with("rdma:") ? 0 : 2;
  }
  inherited.reset();
  return status;
}

// With reads in flight and threads asleep: neither process may notice the other.
TEST_P(TierLifetime, AForkedChildReadsThroughItsOwnQueueAndTheParentGoesOn) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers do not carry their threads and locks over a fork";
#endif
  auto queue = tier_->open_queue(64);
  for (std::uint64_t round = 0; round < 3; ++round) {
    ReadBatch batch;
    set_reads(batch, {{round * 977, 400}, {kRegionBytes - 64, 64}});
    queue->submit(batch);
    queue->flush();
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(60);
      ::_exit(read_in_child(*tier_, queue));
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    ASSERT_EQ(wait_for(*queue, 1).size(), 1U);
    ASSERT_EQ(batch.error, ErrorCode::kOk);
    EXPECT_EQ(view_error(batch), "");
    queue->release(batch);
    set_reads(batch, {{4242 + round, 42}});
    EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  }
}

TIERVEC_ON_EVERY_TIER(TierLifetime);

}  // namespace
}  // namespace tiervec::rdma::conformance

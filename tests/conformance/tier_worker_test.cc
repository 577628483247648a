// Queries of a Worker on every tier: the path a search takes.

#include <tiervec/engine/worker.h>

#include <array>
#include <atomic>
#include <thread>

#include "conformance/tier_fixture.h"
#include "rdma/allocation_counter.h"

namespace tiervec::rdma::conformance {
namespace {

using namespace std::chrono_literals;
using testing::allocation_count;
using TierWorker = TierTest;

struct Outcome {
  std::array<std::uint64_t, 16> by_code{};
  std::uint64_t wrong_views = 0;

  [[nodiscard]] std::uint64_t of(ErrorCode code) const { return by_code[static_cast<std::size_t>(code)]; }
};

/// A walk as a graph search does it: where to read next depends on the bytes read.
engine::Task<void> walk(engine::Worker& worker, std::uint64_t seed, int rounds, Outcome& outcome) {
  ReadBatch batch;
  std::uint64_t place = seed;
  for (int round = 0; round < rounds; ++round) {
    batch.count = 4;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      place = place * 6364136223846793005ULL + 1442695040888963407ULL;
      batch.reads[i] = {(place >> 20U) % (kRegionBytes - 256), 256};
    }
    const ErrorCode error = co_await worker.read(batch);
    ++outcome.by_code[static_cast<std::size_t>(error)];
    if (error != ErrorCode::kOk) {
      co_return;
    }
    outcome.wrong_views += !view_error(batch).empty();
    place += std::to_integer<std::uint64_t>(batch.views[3][255]);
    worker.release(batch);
  }
}

Outcome run_walks(TierQueue& queue, std::uint32_t in_flight, int queries, int rounds, Ticks deadline = kNever,
                  const engine::CancelToken* token = nullptr, std::atomic<int>* started = nullptr) {
  Outcome outcome;
  engine::Worker worker(queue, in_flight);
  int given = 0;
  worker.run(
      [&]() -> engine::Query {
        if (given == queries) {
          return {};
        }
        if (started != nullptr) {
          ++*started;
        }
        return {walk(worker, static_cast<std::uint64_t>(given++), rounds, outcome), deadline};
      },
      token);
  EXPECT_EQ(queue.in_flight(), 0U);
  EXPECT_EQ(outcome.wrong_views, 0U);
  return outcome;
}

TEST_P(TierWorker, Walks) {
  const auto queue = tier_->open_queue(64);
  for (const std::uint32_t in_flight : {1U, 7U, 32U}) {  // 32 queries want more room than there is
    EXPECT_EQ(run_walks(*queue, in_flight, 40, 5).of(ErrorCode::kOk), 200U);
  }
}

TEST_P(TierWorker, CancelEndsAllOfThem) {
  const auto queue = tier_->open_queue(64);
  engine::CancelToken token;
  std::atomic<int> started{0};
  std::jthread canceller([&] {
    while (started < 24) {
      std::this_thread::yield();
    }
    token.cancel();
  });
  const Outcome outcome = run_walks(*queue, 24, 24, 1'000'000'000, kNever, &token, &started);
  EXPECT_EQ(outcome.of(ErrorCode::kCancelled), 24U);
}

TEST_P(TierWorker, DeadlineEndsAllOfThemRealTime) {
  const auto queue = tier_->open_queue(64);
  const Outcome outcome = run_walks(*queue, 24, 24, 1'000'000'000, TickClock::after(10ms));
  EXPECT_EQ(outcome.of(ErrorCode::kDeadlineExceeded), 24U);
}

engine::Task<void> leave_the_region(engine::Worker& worker, Outcome& outcome) {
  ReadBatch batch;
  set_reads(batch, {{kRegionBytes, 1}});
  ++outcome.by_code[static_cast<std::size_t>(co_await worker.read(batch))];
  set_reads(batch, {{0, 64}});
  ++outcome.by_code[static_cast<std::size_t>(co_await worker.read(batch))];
  worker.release(batch);
}

TEST_P(TierWorker, InvalidReadsAreTheirQuerysOnly) {
  const auto queue = tier_->open_queue(64);
  engine::Worker worker(*queue, 4);
  Outcome outcome;
  int left = 8;
  worker.run(
      [&]() -> engine::Task<void> { return left-- > 0 ? leave_the_region(worker, outcome) : engine::Task<void>(); });
  EXPECT_EQ(outcome.of(ErrorCode::kInvalidArgument), 8U);
  EXPECT_EQ(outcome.of(ErrorCode::kOk), 8U);
}

TEST_P(TierWorker, SteadyStateDoesNotAllocate) {
  const auto queue = tier_->open_queue(64);
  engine::Worker worker(*queue, 8);
  Outcome outcome;
  const auto run = [&] {
    int left = 50;
    worker.run([&]() -> engine::Task<void> {
      return left-- > 0 ? walk(worker, static_cast<std::uint64_t>(left), 4, outcome) : engine::Task<void>();
    });
  };
  run();
  const std::uint64_t before = allocation_count;
  run();
  EXPECT_EQ(allocation_count, before);
  EXPECT_EQ(outcome.of(ErrorCode::kOk), 400U);
}

TIERVEC_ON_EVERY_TIER(TierWorker);

}  // namespace
}  // namespace tiervec::rdma::conformance

#include <tiervec/rdma/emulated_tier.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kRegionBytes = 1U << 20U;

std::shared_ptr<Tier> open_emulated(const std::string& rest, TimeSource time = {}) {
  const std::vector<std::byte> bytes(kRegionBytes, std::byte{1});
  const TierUrl url = parse_tier_url("emulated:" + rest);
  return std::make_shared<EmulatedTier>(url.text, parse_emulated_profile(url), MemoryRegion::copy_of(bytes), time);
}

std::string refusal_of(const std::string& url) {
  try {
    (void)parse_tier_url(url);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

/// Turns the clock on by a microsecond at a time until all that is in flight is back; the microseconds that took. They
/// are read off the clock, whose steps are whole ticks.
double us_until_done(TierQueue& queue, ManualClock& clock) {
  ReadBatch* done[8];
  const Ticks start = clock.now();
  while (true) {
    (void)queue.poll(done);
    if (queue.in_flight() == 0) {
      return static_cast<double>(clock.now() - start) / TickClock::ticks_per_ns() * 1e-3;
    }
    clock.advance(1us);
  }
}

/// Sends one batch of `count` reads of `length` bytes.
void send(TierQueue& queue, ReadBatch& batch, std::uint32_t count, std::uint32_t length) {
  batch.count = count;
  for (std::uint32_t i = 0; i < count; ++i) {
    batch.reads[i] = {i * std::uint64_t{16384}, length};
  }
  queue.submit(batch);
  queue.flush();
}

constexpr double kRoundingUs = 3;  // of the steps, and of ticks to nanoseconds

TEST(EmulatedUrl, KnowsThePublishedProfiles) {
  std::vector<std::string> names;
  for (const PublishedProfile& published : published_profiles()) {
    names.emplace_back(published.name);
    const DeviceProfile profile = published.profile();
    EXPECT_TRUE(profile.emulated);
    EXPECT_EQ(profile.source, "published");
    EXPECT_TRUE(std::is_sorted(profile.service.begin(), profile.service.end(),
                               [](const ServicePoint& a, const ServicePoint& b) { return a.bytes < b.bytes; }));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"rdma-200g", "cxl-x8", "nvm-optane", "ssd-p5520"}));
}

TEST(EmulatedUrl, TakesOwnFiguresInAnyOrder) {
  const DeviceProfile profile =
      parse_emulated_profile(parse_tier_url("emulated:gbps=10,block=64,reads_mps=2e1,latency_us=5.5"));
  EXPECT_DOUBLE_EQ(profile.latency_us, 5.5);
  EXPECT_DOUBLE_EQ(profile.reads_per_s, 20e6);
  EXPECT_DOUBLE_EQ(profile.bytes_per_s, 10e9);
  EXPECT_EQ(profile.block_bytes, 64U);
  EXPECT_TRUE(profile.emulated);
  EXPECT_EQ(profile.source, "given");
}

TEST(EmulatedUrl, SaysWhatIsWrong) {
  const auto contains = [](const std::string& url, const std::string& part) {
    EXPECT_NE(refusal_of(url).find(part), std::string::npos) << refusal_of(url);
    EXPECT_NE(refusal_of(url).find("'" + url + "'"), std::string::npos) << refusal_of(url);
  };
  contains("emulated:", "unknown profile ''; known are rdma-200g, cxl-x8, nvm-optane, ssd-p5520");
  contains("emulated:rdma-400g", "unknown profile 'rdma-400g'");
  contains("emulated:rdma-200g ", "unknown profile");
  contains("emulated:latency=5,reads_mps=20,gbps=10,block=64", "unknown key 'latency'; right is latency_us=");
  contains("emulated:latency_us=5,reads_mps=20,gbps=10", "lacks the key 'block'; right is");
  contains("emulated:latency_us=5,latency_us=5,gbps=10,block=64", "the key 'latency_us' twice");
  contains("emulated:latency_us=5,reads_mps=fast,gbps=10,block=64", "reads_mps='fast', which is not a number");
  contains("emulated:latency_us=5,reads_mps=,gbps=10,block=64", "reads_mps='', which is not a number");
  contains("emulated:latency_us=5us,reads_mps=1,gbps=10,block=64", "latency_us='5us', which is not a number");
  contains("emulated:latency_us=0,reads_mps=1,gbps=10,block=64", "latency_us=0; it must be between 0.001 and");
  contains("emulated:latency_us=5,reads_mps=-3,gbps=10,block=64", "reads_mps=-3; it must be between");
  contains("emulated:latency_us=nan,reads_mps=1,gbps=10,block=64", "latency_us=nan; it must be between");
  contains("emulated:latency_us=inf,reads_mps=1,gbps=10,block=64", "latency_us=inf; it must be between");
  contains("emulated:latency_us=1e999,reads_mps=1,gbps=10,block=64", "latency_us=1e999; it must be between");
  contains("emulated:latency_us=5,reads_mps=1,gbps=10,block=100", "block=100; it must be a power of two");
  contains("emulated:latency_us=5,reads_mps=1,gbps=10,block=64.5", "block=64.5; it must be a power of two");
  contains("emulated:latency_us=5,", "lacks the key 'reads_mps'");
  contains("emulated:latency_us=5,,block=64", "'' where key=number is due");
}

TEST(DeviceServer, ServesOneAfterTheOther) {
  DeviceServer server;
  EXPECT_EQ(server.reserve(1000, 50), 1000U);
  EXPECT_EQ(server.reserve(1010, 20), 1050U) << "waits for the first";
  EXPECT_EQ(server.reserve(5000, 1), 5000U) << "idle in between";
}

TEST(DeviceServer, AddsUpOverThreads) {
  DeviceServer server;
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10'000; ++i) {
          server.reserve(1, 3);
        }
      });
    }
  }
  EXPECT_EQ(server.reserve(1, 0), 1U + 4 * 10'000 * 3);
}

class EmulatedTimes : public ::testing::Test {
 protected:
  std::unique_ptr<TierQueue> open(const std::string& profile) {
    return open_emulated(profile, TimeSource(clock_))->open_queue(64);
  }
  /// Microseconds from submit to completion of one batch.
  double batch_us(TierQueue& queue, std::uint32_t count, std::uint32_t length) {
    ReadBatch batch;
    send(queue, batch, count, length);
    const double us = us_until_done(queue, clock_);
    EXPECT_EQ(batch.error, ErrorCode::kOk);
    return us;
  }

  ManualClock clock_;
};

TEST_F(EmulatedTimes, OneReadTakesTheLatency) {
  const auto queue = open("latency_us=2000,reads_mps=1,gbps=1,block=64");
  for (int i = 0; i < 5; ++i) {
    EXPECT_NEAR(batch_us(*queue, 1, 64), 2000, kRoundingUs);
  }
}

TEST_F(EmulatedTimes, ReadsOfABatchShareTheLatency) {
  const auto queue = open("latency_us=100000,reads_mps=0.001,gbps=1,block=64");
  EXPECT_NEAR(batch_us(*queue, 32, 64), 100'000 + 31 * 1000, kRoundingUs);
}

TEST_F(EmulatedTimes, TheReadRateIsABound) {
  const auto queue = open("latency_us=1,reads_mps=0.02,gbps=10,block=64");
  // 32 reads at 20,000 reads/s; the first is part of the latency.
  EXPECT_NEAR(batch_us(*queue, 32, 64), 31 * 50, 50 + kRoundingUs);
}

TEST_F(EmulatedTimes, TheBandwidthIsABound) {
  const auto queue = open("latency_us=1,reads_mps=100,gbps=0.1,block=64");
  // 32 reads of 8 KiB at 100 MB/s.
  EXPECT_NEAR(batch_us(*queue, 32, 8192), 31 * 81.92, 81.92 + kRoundingUs);
}

TEST_F(EmulatedTimes, ReadsCostWholeBlocks) {
  const auto queue = open("latency_us=1,reads_mps=100,gbps=0.1,block=8192");
  ReadBatch batch;
  batch.count = 32;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    batch.reads[i] = {i * std::uint64_t{16384} + 8191, 2};  // two bytes, two blocks
  }
  queue->submit(batch);
  queue->flush();
  EXPECT_NEAR(us_until_done(*queue, clock_), 31 * 163.84, 163.84 + kRoundingUs);
}

TEST_F(EmulatedTimes, QueuesShareTheDevice) {
  const auto tier = open_emulated("latency_us=1,reads_mps=0.02,gbps=10,block=64", TimeSource(clock_));
  std::vector<std::unique_ptr<TierQueue>> queues;
  std::vector<ReadBatch> batches(3);
  for (ReadBatch& batch : batches) {
    queues.push_back(tier->open_queue(32));
    send(*queues.back(), batch, 32, 64);
  }
  double us = 0;
  for (const auto& queue : queues) {
    us += us_until_done(*queue, clock_);
  }
  EXPECT_NEAR(us, 95 * 50, 50 + kRoundingUs);
}

TEST(EmulatedTier, TheDeviceAnswersInItsTimeRealTime) {
  const auto queue = open_emulated("latency_us=2000,reads_mps=1,gbps=1,block=64")->open_queue(32);
  ReadBatch batch;
  ReadBatch* done[1];
  const auto start = std::chrono::steady_clock::now();
  send(*queue, batch, 1, 64);
  while (queue->poll(done) == 0) {
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, 1990us);
  EXPECT_EQ(batch.error, ErrorCode::kOk);
}

TEST(EmulatedTier, CancelComesBackBeforeTheDeviceAnswers) {
  const auto queue = open_emulated("latency_us=1e7,reads_mps=1,gbps=1,block=64")->open_queue(32);
  std::vector<ReadBatch> batches(3);
  for (ReadBatch& batch : batches) {
    batch.count = 1;
    batch.reads[0] = {0, 64};
    queue->submit(batch);
  }
  queue->flush();
  queue->cancel(batches[1]);
  ReadBatch* done[3];
  ASSERT_EQ(queue->poll(done), 1U);
  EXPECT_EQ(done[0], &batches[1]);
  EXPECT_EQ(batches[1].error, ErrorCode::kCancelled);
  queue->cancel(batches[2]);
  queue->cancel(batches[0]);
  EXPECT_EQ(queue->poll(done), 2U);
  EXPECT_EQ(queue->in_flight(), 0U);
}

TEST_F(EmulatedTimes, CancelBeforeTheFlushCostsTheDeviceNothing) {
  const auto queue = open("latency_us=1,reads_mps=0.000002,gbps=10,block=64");
  ReadBatch dear;  // 32 reads of half a second each
  dear.count = 32;
  std::fill_n(dear.reads, 32, Read{0, 64});
  ReadBatch cheap;
  cheap.count = 1;
  cheap.reads[0] = {0, 64};
  queue->submit(dear);
  queue->submit(cheap);
  queue->cancel(dear);
  queue->flush();
  EXPECT_NEAR(us_until_done(*queue, clock_), 1, kRoundingUs);
  EXPECT_EQ(dear.error, ErrorCode::kCancelled);
  EXPECT_EQ(cheap.error, ErrorCode::kOk);
}

}  // namespace
}  // namespace tiervec::rdma

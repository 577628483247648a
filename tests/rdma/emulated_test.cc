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

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kRegionBytes = 1U << 20U;

std::shared_ptr<Tier> open_emulated(const std::string& rest) {
  const std::vector<std::byte> bytes(kRegionBytes, std::byte{1});
  const TierUrl url = parse_tier_url("emulated:" + rest);
  return std::make_shared<EmulatedTier>(url.text, parse_emulated_profile(url), MemoryRegion::copy_of(bytes));
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

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Time from submit to completion of one batch of `count` reads of `length` bytes.
double batch_seconds(TierQueue& queue, std::uint32_t count, std::uint32_t length) {
  ReadBatch batch;
  batch.count = count;
  for (std::uint32_t i = 0; i < count; ++i) {
    batch.reads[i] = {i * std::uint64_t{16384}, length};
  }
  ReadBatch* done[1];
  const Clock::time_point start = Clock::now();
  queue.submit(batch);
  queue.flush();
  while (queue.poll(done) == 0) {
  }
  EXPECT_EQ(batch.error, ErrorCode::kOk);
  return seconds_since(start);
}

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

TEST(EmulatedTier, OneReadTakesTheLatency) {
  const auto queue = open_emulated("latency_us=2000,reads_mps=1,gbps=1,block=64")->open_queue(32);
  for (int i = 0; i < 5; ++i) {
    EXPECT_GE(batch_seconds(*queue, 1, 64), 2000e-6);
  }
}

TEST(EmulatedTier, ReadsOfABatchShareTheLatency) {
  const auto queue = open_emulated("latency_us=100000,reads_mps=0.001,gbps=1,block=64")->open_queue(32);
  double fastest = 100;
  for (int i = 0; i < 3; ++i) {
    const double seconds = batch_seconds(*queue, 32, 64);
    EXPECT_GE(seconds, 0.1 + 31e-3);
    fastest = std::min(fastest, seconds);
  }
  EXPECT_LT(fastest, 32 * 0.1 / 2) << "one after the other they would take 32 latencies";
}

TEST(EmulatedTier, ReadRateIsAnUpperBound) {
  const auto queue = open_emulated("latency_us=1,reads_mps=0.02,gbps=10,block=64")->open_queue(32);
  // 32 reads at 20,000 reads/s; the first is part of the latency.
  EXPECT_GE(batch_seconds(*queue, 32, 64), 31 / 20'000.0);
}

TEST(EmulatedTier, BandwidthIsAnUpperBound) {
  const auto queue = open_emulated("latency_us=1,reads_mps=100,gbps=0.1,block=64")->open_queue(32);
  // 32 reads of 8 KiB at 100 MB/s.
  EXPECT_GE(batch_seconds(*queue, 32, 8192), 31 * 8192 / 0.1e9);
}

TEST(EmulatedTier, ReadsCostWholeBlocks) {
  const auto queue = open_emulated("latency_us=1,reads_mps=100,gbps=0.1,block=8192")->open_queue(32);
  ReadBatch batch;
  batch.count = 32;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    batch.reads[i] = {i * std::uint64_t{16384} + 8191, 2};  // two bytes, two blocks
  }
  ReadBatch* done[1];
  const Clock::time_point start = Clock::now();
  queue->submit(batch);
  queue->flush();
  while (queue->poll(done) == 0) {
  }
  EXPECT_GE(seconds_since(start), 31 * 16384 / 0.1e9);
}

TEST(EmulatedTier, QueuesShareTheDevice) {
  const auto tier = open_emulated("latency_us=1,reads_mps=0.02,gbps=10,block=64");
  const Clock::time_point start = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&] { batch_seconds(*tier->open_queue(32), 32, 64); });
    }
  }
  EXPECT_GE(seconds_since(start), 95 / 20'000.0);
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

TEST(EmulatedTier, CancelBeforeTheFlushCostsTheDeviceNothing) {
  const auto queue = open_emulated("latency_us=1,reads_mps=0.000002,gbps=10,block=64")->open_queue(64);
  ReadBatch dear;  // 32 reads of half a second each
  dear.count = 32;
  std::fill_n(dear.reads, 32, Read{0, 64});
  ReadBatch cheap;
  cheap.count = 1;
  cheap.reads[0] = {0, 64};
  ReadBatch* done[2];
  const Clock::time_point start = Clock::now();
  queue->submit(dear);
  queue->submit(cheap);
  queue->cancel(dear);
  queue->flush();
  for (std::size_t count = 0; count < 2;) {
    count += queue->poll(done);
  }
  EXPECT_EQ(dear.error, ErrorCode::kCancelled);
  EXPECT_EQ(cheap.error, ErrorCode::kOk);
  EXPECT_LT(seconds_since(start), 10);
}

}  // namespace
}  // namespace tiervec::rdma

// The queue on a reader whose test decides what lands, when, and how.

#include "../../../rdma/src/ssd/ssd_queue.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/dram_tier.h>

#include "../../../rdma/src/ssd/sectors.h"

namespace tiervec::rdma::ssd {
namespace {

constexpr std::uint64_t kRegionBytes = 20 * kSectorBytes + 100;

std::byte byte_at(std::uint64_t offset) {
  return static_cast<std::byte>(offset * 131 + offset / 251);
}

/// What the queue asked of the device.
struct Device {
  std::vector<SectorRead> added;
  std::vector<SectorRead> sent;
  std::vector<Landed> landed;
  std::uint32_t sends = 0;
  std::uint32_t waits = 0;
  std::uint32_t depth = 0;
  std::span<std::byte> buffers;
  bool is_gone = false;

  /// Answers read `i` as a file of kRegionBytes would, or with `result`.
  void land(std::size_t i, std::int32_t result = std::numeric_limits<std::int32_t>::max()) {
    const SectorRead read = sent.at(i);
    sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(i));
    const std::uint64_t end = std::min<std::uint64_t>(read.offset + read.bytes, kRegionBytes);
    if (result == std::numeric_limits<std::int32_t>::max()) {
      result = static_cast<std::int32_t>(end - read.offset);
    }
    for (std::int32_t at = 0; at < result; ++at) {
      read.to[at] = byte_at(read.offset + static_cast<std::uint64_t>(at));
    }
    landed.push_back({read.slot, result});
  }
  void land_all() {
    while (!sent.empty()) {
      land(sent.size() - 1);  // the last first: order means nothing
    }
  }
};

class ScriptedReader final : public SectorReader {
 public:
  explicit ScriptedReader(Device& device) : device_(device) {}
  ~ScriptedReader() override { device_.is_gone = true; }
  void add(const SectorRead& read) noexcept override {
    EXPECT_GE(read.to, device_.buffers.data());
    EXPECT_LE(read.to + read.bytes, device_.buffers.data() + device_.buffers.size());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(read.to) % kSectorBytes, 0U);
    EXPECT_EQ(read.offset % kSectorBytes, 0U);
    EXPECT_EQ(read.bytes % kSectorBytes, 0U);
    device_.added.push_back(read);
  }
  void send() noexcept override {
    ++device_.sends;
    device_.sent.insert(device_.sent.end(), device_.added.begin(), device_.added.end());
    device_.added.clear();
    EXPECT_LE(device_.sent.size(), device_.depth);
  }
  bool wait() noexcept override {
    ++device_.waits;
    return true;
  }
  std::size_t poll(std::span<Landed> landed) noexcept override {
    const std::size_t count = std::min(landed.size(), device_.landed.size());
    std::copy_n(device_.landed.begin(), count, landed.begin());
    device_.landed.erase(device_.landed.begin(), device_.landed.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

 private:
  Device& device_;
};

class SsdQueueTest : public ::testing::Test {
 protected:
  std::unique_ptr<SsdQueue> open(std::uint32_t max_reads, std::uint32_t max_read_bytes = 10'000) {
    return std::make_unique<SsdQueue>(SsdQueueSetup{nullptr, &counters_, kRegionBytes, ReadBatch::kMaxReads},
                                      QueueLimits{.max_reads = max_reads, .max_read_bytes = max_read_bytes},
                                      [this](std::span<std::byte> buffers, std::uint32_t depth) {
                                        device_.buffers = buffers;
                                        device_.depth = depth;
                                        return std::make_unique<ScriptedReader>(device_);
                                      });
  }
  static void set(ReadBatch& batch, const std::vector<Read>& reads) {
    batch.count = static_cast<std::uint32_t>(reads.size());
    std::copy(reads.begin(), reads.end(), batch.reads);
  }
  static std::vector<ReadBatch*> poll(SsdQueue& queue) {
    std::vector<ReadBatch*> done(16);
    done.resize(queue.poll(done));
    return done;
  }
  static void expect_views(const ReadBatch& batch) {
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      for (std::uint32_t at = 0; at < batch.reads[i].length; ++at) {
        ASSERT_EQ(batch.views[i][at], byte_at(batch.reads[i].offset + at)) << "read " << i << ", byte " << at;
      }
    }
  }

  Device device_;
  SsdCounters counters_;
};

TEST_F(SsdQueueTest, OneSendForAllReadsOfAFlush) {
  const auto queue = open(16);
  ReadBatch first;
  ReadBatch second;
  set(first, {{5, 100}, {4000, 200}});
  set(second, {{3 * 4096, 4096}});
  queue->submit(first);
  queue->submit(second);
  EXPECT_EQ(device_.sends, 0U);
  queue->flush();
  EXPECT_EQ(device_.sends, 1U);
  ASSERT_EQ(device_.sent.size(), 3U);
  EXPECT_EQ(device_.sent[0].bytes, 4096U);
  EXPECT_EQ(device_.sent[1].bytes, 8192U) << "it lies in two sectors";
  EXPECT_EQ(device_.sent[2].offset, 3U * 4096);
  EXPECT_EQ(counters_.reads, 3U);
  EXPECT_EQ(counters_.sectors, 4U);
  EXPECT_EQ(counters_.flushes, 1U);
  queue->flush();
  EXPECT_EQ(device_.sends, 1U) << "nothing new";
}

TEST_F(SsdQueueTest, WaitsForTheDeviceOnly) {
  const auto queue = open(16);
  queue->wait();
  EXPECT_EQ(device_.waits, 0U) << "nothing is in flight";
  ReadBatch batch;
  set(batch, {{5, 100}});
  queue->submit(batch);
  queue->wait();
  EXPECT_EQ(device_.waits, 0U) << "nothing was sent";
  queue->flush();
  queue->wait();
  EXPECT_EQ(device_.waits, 1U);
  ReadBatch refused;
  set(refused, {{kRegionBytes, 1}});
  queue->submit(refused);
  queue->wait();
  EXPECT_EQ(device_.waits, 1U) << "one batch can be taken in";
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&refused});
  device_.land_all();
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&batch});
  queue->wait();
  EXPECT_EQ(device_.waits, 1U) << "all have landed";
}

TEST_F(SsdQueueTest, ABatchIsDoneWhenAllItsReadsAre) {
  const auto queue = open(16);
  ReadBatch first;
  ReadBatch second;
  set(first, {{10, 20}, {8000, 500}});
  set(second, {{kRegionBytes - 7, 7}});  // the last sector is not whole
  queue->submit(first);
  queue->submit(second);
  queue->flush();
  device_.land(1);
  EXPECT_TRUE(poll(*queue).empty());
  device_.land(1);
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&second});
  device_.land(0);
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&first});
  for (ReadBatch* batch : {&first, &second}) {
    EXPECT_EQ(batch->error, ErrorCode::kOk);
    expect_views(*batch);
    queue->release(*batch);
  }
  EXPECT_TRUE(queue->can_submit(16));
}

struct Fault {
  std::int32_t result;
  ErrorCode expected;
};

TEST_F(SsdQueueTest, FailedAndShortReadsAreErrors) {
  const auto queue = open(2);
  for (const Fault fault :
       {Fault{-EIO, ErrorCode::kUnavailable}, Fault{-EBADF, ErrorCode::kUnavailable},
        Fault{-EAGAIN, ErrorCode::kUnavailable}, Fault{0, ErrorCode::kDataLoss}, Fault{512, ErrorCode::kDataLoss},
        Fault{5 + 999, ErrorCode::kDataLoss}, Fault{5 + 1000, ErrorCode::kOk}}) {
    ReadBatch batch;
    set(batch, {{8192, 30}, {5, 1000}});
    queue->submit(batch);
    queue->flush();
    device_.land(1, fault.result);
    EXPECT_TRUE(poll(*queue).empty()) << "the other read is still with the device";
    EXPECT_FALSE(queue->can_submit(1));
    device_.land(0);
    ASSERT_EQ(poll(*queue), std::vector<ReadBatch*>{&batch});
    EXPECT_EQ(batch.error, fault.expected) << fault.result;
    if (batch.error == ErrorCode::kOk) {
      queue->release(batch);
    }
    EXPECT_TRUE(queue->can_submit(2));
  }
}

TEST_F(SsdQueueTest, KeepsWithinTheDepthOfTheDevice) {
  const auto queue = open(300);
  std::vector<ReadBatch> batches(4);
  for (ReadBatch& batch : batches) {
    set(batch, std::vector<Read>(60, Read{4096, 64}));
    queue->submit(batch);
  }
  queue->flush();
  EXPECT_EQ(device_.sent.size(), 120U);
  device_.land_all();
  EXPECT_EQ(poll(*queue).size(), 2U);
  EXPECT_EQ(device_.sent.size(), 120U) << "the rest goes out without another flush";
  device_.land_all();
  EXPECT_EQ(poll(*queue).size(), 2U);
  EXPECT_EQ(queue->in_flight(), 0U);
}

TEST_F(SsdQueueTest, CancelEndsWhatWasNotSent) {
  const auto queue = open(8);
  ReadBatch batch;
  set(batch, {{0, 10}, {50, 10}});
  queue->submit(batch);
  queue->cancel(batch);
  queue->cancel(batch);
  queue->flush();
  EXPECT_TRUE(device_.sent.empty());
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&batch});
  EXPECT_EQ(batch.error, ErrorCode::kCancelled);
  EXPECT_TRUE(queue->can_submit(8));
}

TEST_F(SsdQueueTest, CancelledReadsComeBackWhenTheyHaveLanded) {
  const auto queue = open(8);
  ReadBatch batch;
  set(batch, {{0, 10}, {50, 10}});
  queue->submit(batch);
  queue->flush();
  queue->cancel(batch);
  EXPECT_TRUE(poll(*queue).empty()) << "the device writes into its buffers";
  device_.land(0, -EIO);
  device_.land_all();
  EXPECT_EQ(poll(*queue), std::vector<ReadBatch*>{&batch});
  EXPECT_EQ(batch.error, ErrorCode::kCancelled);
  queue->cancel(batch);
  EXPECT_TRUE(poll(*queue).empty()) << "once only";
  EXPECT_TRUE(queue->can_submit(8));
}

TEST_F(SsdQueueTest, GoesWithReadsInFlight) {
  auto queue = open(8);
  ReadBatch batch;
  set(batch, {{0, 10}});
  queue->submit(batch);
  queue->flush();
  queue.reset();
  EXPECT_TRUE(device_.is_gone);
}

// Whatever is asked for, and whatever the device answers: each batch comes back once, with its bytes or an error.
TEST_F(SsdQueueTest, RandomReadsAndAnswers) {
  const auto queue = open(64);
  std::mt19937_64 random(7);
  std::vector<ReadBatch> batches(6);
  std::vector<bool> is_out(batches.size());
  std::vector<bool> is_harmed(batches.size());
  int done = 0;
  for (int turn = 0; turn < 20'000; ++turn) {
    const std::size_t pick = random() % batches.size();
    ReadBatch& batch = batches[pick];
    if (!is_out[pick]) {
      batch.count = static_cast<std::uint32_t>(1 + random() % 8);
      bool is_valid = true;
      for (std::uint32_t i = 0; i < batch.count; ++i) {
        batch.reads[i] = {random() % (kRegionBytes + 50), static_cast<std::uint32_t>(random() % 10'100)};
        const Read read = batch.reads[i];
        is_valid &= read.length > 0 && read.length <= 10'000 && read.offset + read.length <= kRegionBytes;
      }
      if (queue->can_submit(batch.count)) {
        is_out[pick] = true;
        is_harmed[pick] = !is_valid;
        queue->submit(batch);
      }
    } else if (random() % 8 == 0) {
      is_harmed[pick] = true;  // or not: it may be done already
      queue->cancel(batch);
    }
    if (random() % 2 == 0) {
      queue->flush();
    }
    while (!device_.sent.empty() && random() % 3 != 0) {
      device_.land(random() % device_.sent.size());
    }
    for (ReadBatch* finished : poll(*queue)) {
      const auto index = static_cast<std::size_t>(finished - batches.data());
      ASSERT_TRUE(is_out[index]);
      is_out[index] = false;
      ++done;
      if (finished->error == ErrorCode::kOk) {
        expect_views(*finished);
        queue->release(*finished);
      } else {
        ASSERT_TRUE(is_harmed[index]);
      }
    }
  }
  EXPECT_GT(done, 1000);
}

}  // namespace
}  // namespace tiervec::rdma::ssd

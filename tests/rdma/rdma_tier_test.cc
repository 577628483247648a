// What the conformance suite does not know: doorbells, refusals, and nodes that go, come back, or do not answer. Most
// of it needs an RDMA device: TIERVEC_TEST_RDMA is the address of one (`make guest` has one).

#include <tiervec/rdma/rdma_tier.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/engine/worker.h>
#include <tiervec/rdma/verbs_server.h>

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kRegionId = 9;
constexpr std::uint64_t kRegionBytes = 1U << 20U;
// An emulated machine that others share may pause for seconds.
constexpr auto kPatience = 10s;
constexpr AttachToken kToken = {std::byte{1}, std::byte{2}};

struct Refusal {
  ErrorCode code = ErrorCode::kOk;
  std::string text;
};

Refusal refusal_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(RdmaWithoutDevice, SaysWhatIsMissing) {
  const VerbsStatus status = verbs_status();
  EXPECT_NE(status.available, !status.reason.empty());
  if (status.available) {
    GTEST_SKIP() << "this machine has " << status.devices.front();
  }
  const Refusal tier = refusal_of([] {
    (void)open_rdma_tier("rdma://host:1/a", {.transport = "rdma", .host = "127.0.0.1", .port = 1, .size_bytes = 64});
  });
  EXPECT_EQ(tier.code, ErrorCode::kUnsupported);
  EXPECT_EQ(tier.text, "tier rdma://host:1/a: " + status.reason);
  const Refusal server = refusal_of([] { const VerbsServer refused("127.0.0.1", 0); });
  EXPECT_EQ(server.code, ErrorCode::kUnsupported);
  EXPECT_TRUE(contains(server.text, status.reason)) << server.text;
}

class RdmaTierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* address = std::getenv("TIERVEC_TEST_RDMA");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    if (address == nullptr) {
      GTEST_SKIP() << "TIERVEC_TEST_RDMA names no RDMA device; `make guest` runs this with one";
    }
    address_ = address;
    memory_ = filled(1);
    server_ = std::make_unique<VerbsServer>(address_, 0);
    server_->serve(kRegionId, kToken, memory_.data(), memory_.size());
  }

  /// Byte i is i * step, so that regions of different steps differ.
  static std::vector<std::byte> filled(unsigned step) {
    std::vector<std::byte> bytes(kRegionBytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>(i * step + i / 256);
    }
    return bytes;
  }

  [[nodiscard]] Attachment attachment() const {
    return {.transport = "rdma",
            .host = address_,
            .port = server_->port(),
            .region_id = kRegionId,
            .size_bytes = kRegionBytes,
            .token = kToken};
  }

  static std::shared_ptr<Tier> open(const Attachment& attachment,
                                    RdmaOptions options = {.timeout = kPatience, .check_at_open = false}) {
    return open_rdma_tier("rdma://node:1/region", attachment, options);
  }

  static Refusal refusal_at_open(const Attachment& attachment) {
    return refusal_of([&] { (void)open(attachment, {.timeout = kPatience}); });
  }

  static void set_reads(ReadBatch& batch, std::uint32_t count, std::uint64_t first) {
    batch.count = count;
    for (std::uint32_t i = 0; i < count; ++i) {
      batch.reads[i] = {first + i * 512, 200};
    }
  }

  /// One read after the other until its error is as expected, or 20 s are over; returns the last error.
  static ErrorCode read_until(TierQueue& queue, ErrorCode expected, const std::vector<std::byte>& memory) {
    const auto give_up = std::chrono::steady_clock::now() + 60s;
    ReadBatch batch;
    do {
      set_reads(batch, 8, 4096);
      run(queue, {&batch});
      if (batch.error == ErrorCode::kOk) {
        EXPECT_TRUE(right(batch, memory));
        queue.release(batch);
      }
    } while (batch.error != expected && std::chrono::steady_clock::now() < give_up);
    return batch.error;
  }

  static bool right(const ReadBatch& batch, const std::vector<std::byte>& memory) {
    if (batch.error != ErrorCode::kOk) {
      return false;
    }
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      if (!std::equal(batch.views[i], batch.views[i] + batch.reads[i].length, memory.data() + batch.reads[i].offset)) {
        return false;
      }
    }
    return true;
  }

  static void run(TierQueue& queue, const std::vector<ReadBatch*>& batches) {
    for (ReadBatch* batch : batches) {
      queue.submit(*batch);
    }
    queue.flush();
    drain(queue);
  }

  static void drain(TierQueue& queue) {
    ReadBatch* done[4];
    const auto give_up = std::chrono::steady_clock::now() + 60s;
    while (queue.in_flight() > 0 && std::chrono::steady_clock::now() < give_up) {
      (void)queue.poll(done);
    }
    EXPECT_EQ(queue.in_flight(), 0U) << "a batch did not come back";
  }

  static std::uint64_t counter(const Tier& tier, const std::string& name) {
    for (const TierCounter& counter : tier.counters()) {
      if (counter.name == name) {
        return counter.value;
      }
    }
    ADD_FAILURE() << "no counter " << name;
    return 0;
  }

  std::string address_;
  std::vector<std::byte> memory_;
  std::unique_ptr<VerbsServer> server_;
};

TEST_F(RdmaTierTest, OneDoorbellAFlushAndOneCompletionABatch) {
  const auto tier = open(attachment());
  const auto queue = tier->open_queue(64);
  std::vector<ReadBatch> batches(8);
  std::vector<ReadBatch*> all;
  for (ReadBatch& batch : batches) {
    set_reads(batch, 8, 1024 * all.size());
    all.push_back(&batch);
  }
  run(*queue, all);
  for (const ReadBatch& batch : batches) {
    EXPECT_EQ(batch.error, ErrorCode::kOk);
    EXPECT_TRUE(right(batch, memory_));
  }
  EXPECT_EQ(counter(*tier, "reads"), 64U);
  EXPECT_EQ(counter(*tier, "doorbells"), 1U);
  EXPECT_EQ(counter(*tier, "completions"), 8U);
  EXPECT_EQ(counter(*tier, "connections"), 1U);
}

TEST_F(RdmaTierTest, WhatExceedsTheQueuePairWaits) {
  const auto tier = open(attachment(), {.timeout = kPatience, .check_at_open = false, .max_outstanding = 10});
  const auto queue = tier->open_queue(64);
  std::vector<ReadBatch> batches(8);
  std::vector<ReadBatch*> all;
  for (ReadBatch& batch : batches) {
    set_reads(batch, 8, 1024 * all.size());
    all.push_back(&batch);
  }
  run(*queue, all);
  for (const ReadBatch& batch : batches) {
    EXPECT_EQ(batch.error, ErrorCode::kOk);
    EXPECT_TRUE(right(batch, memory_));
    queue->release(const_cast<ReadBatch&>(batch));
  }
  EXPECT_EQ(counter(*tier, "doorbells"), 8U);  // 8 reads of 10 fit, so one batch a time
  set_reads(batches[0], 11, 0);
  run(*queue, {all[0]});
  EXPECT_EQ(batches[0].error, ErrorCode::kResourceExhausted) << "it would never fit";
}

TEST_F(RdmaTierTest, RefusesWhoMayNotRead) {
  Attachment wrong = attachment();
  wrong.token[15] = std::byte{1};
  Refusal refusal = refusal_at_open(wrong);
  EXPECT_EQ(refusal.code, ErrorCode::kPermissionDenied);
  EXPECT_TRUE(contains(refusal.text, "rdma://node:1/region")) << refusal.text;
  EXPECT_TRUE(contains(refusal.text, "token")) << refusal.text;

  wrong = attachment();
  wrong.region_id = 10;
  EXPECT_EQ(refusal_at_open(wrong).code, ErrorCode::kNotFound);

  wrong = attachment();
  wrong.size_bytes += 1;
  refusal = refusal_at_open(wrong);
  EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(contains(refusal.text, "size")) << refusal.text;

  wrong = attachment();
  wrong.port = 1;
  EXPECT_EQ(refusal_at_open(wrong).code, ErrorCode::kUnavailable);
  wrong.host = "no.such.host.invalid";
  EXPECT_EQ(refusal_at_open(wrong).code, ErrorCode::kInvalidArgument);
  wrong.host = "192.0.2.1";  // no device reaches it
  EXPECT_EQ(refusal_at_open(wrong).code, ErrorCode::kUnavailable);

  EXPECT_EQ(server_->stats().refused, 2U);
}

TEST_F(RdmaTierTest, BoundsItsConnections) {
  VerbsServer small(address_, 0, "", 2);
  small.serve(kRegionId, kToken, memory_.data(), memory_.size());
  Attachment there = attachment();
  there.port = small.port();
  const auto tier = open(there);
  const auto one = tier->open_queue(1);
  const auto two = tier->open_queue(1);
  EXPECT_EQ(refusal_at_open(there).code, ErrorCode::kUnavailable);
  EXPECT_EQ(read_until(*one, ErrorCode::kResourceExhausted, memory_), ErrorCode::kResourceExhausted) << "8 reads of 1";
}

TEST_F(RdmaTierTest, MeasuresItsProfileWhenItChecks) {
  const auto tier = open(attachment(), {.timeout = kPatience});
  EXPECT_EQ(tier->profile().source, "measured");
  EXPECT_EQ(open(attachment())->profile().source, "nominal");
  EXPECT_EQ(counter(*tier, "reads"), 0U) << "what was read to measure is not the reader's";
}

TEST_F(RdmaTierTest, NoticesClientsThatGo) {
  const auto tier = open(attachment());
  {
    const auto one = tier->open_queue(1);
    const auto two = tier->open_queue(1);
    EXPECT_EQ(server_->stats().accepted, 2U);
    EXPECT_EQ(server_->stats().connections, 2U);
  }
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (server_->stats().connections > 0 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(server_->stats().connections, 0U);
}

TEST_F(RdmaTierTest, WithdrawnRegionFailsAndComesBack) {
  const auto tier = open(attachment());
  const auto queue = tier->open_queue(64);
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, memory_), ErrorCode::kOk);
  EXPECT_TRUE(queue->available());
  server_->withdraw(kRegionId);
  EXPECT_EQ(refusal_of([&] { server_->withdraw(kRegionId); }).code, ErrorCode::kNotFound);
  EXPECT_EQ(read_until(*queue, ErrorCode::kUnavailable, memory_), ErrorCode::kUnavailable);
  EXPECT_FALSE(queue->available());
  EXPECT_EQ(refusal_at_open(attachment()).code, ErrorCode::kNotFound);

  const std::vector<std::byte> other = filled(3);  // elsewhere, under another key
  server_->serve(kRegionId, kToken, other.data(), other.size());
  EXPECT_EQ(refusal_of([&] { server_->serve(kRegionId, kToken, other.data(), 1); }).code, ErrorCode::kAlreadyExists);
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, other), ErrorCode::kOk);
  server_->stop();
}

TEST_F(RdmaTierTest, ReconnectsToANodeThatRestarted) {
  const auto tier = open(attachment());
  const auto queue = tier->open_queue(64);
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, memory_), ErrorCode::kOk);
  const std::uint16_t port = server_->port();
  server_.reset();
  EXPECT_EQ(read_until(*queue, ErrorCode::kUnavailable, memory_), ErrorCode::kUnavailable);
  const std::vector<std::byte> other = filled(5);
  server_ = std::make_unique<VerbsServer>(address_, port);
  server_->serve(kRegionId, kToken, other.data(), other.size());
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, other), ErrorCode::kOk);
  EXPECT_EQ(counter(*tier, "connections"), 2U);
  server_->stop();
}

TEST_F(RdmaTierTest, ReadsInFlightFailWithTheRegion) {
  const auto tier = open(attachment());
  const auto queue = tier->open_queue(1024);
  std::vector<ReadBatch> batches(64);
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(read_until(*queue, ErrorCode::kOk, memory_), ErrorCode::kOk);
    for (ReadBatch& batch : batches) {
      set_reads(batch, 16, 2048);
      queue->submit(batch);
    }
    queue->flush();
    queue->cancel(batches[7]);
    server_->withdraw(kRegionId);
    drain(*queue);
    for (ReadBatch& batch : batches) {
      if (batch.error == ErrorCode::kOk) {
        EXPECT_TRUE(right(batch, memory_));
        queue->release(batch);
      } else {
        EXPECT_EQ(batch.error, &batch == &batches[7] ? ErrorCode::kCancelled : ErrorCode::kUnavailable);
      }
    }
    EXPECT_TRUE(queue->can_submit(1024)) << "a failed batch kept its room";
    server_->serve(kRegionId, kToken, memory_.data(), memory_.size());
  }
}

TEST_F(RdmaTierTest, OpensWithoutItsNodeWhenToldSo) {
  Attachment there = attachment();
  const std::uint16_t port = server_->port();
  server_.reset();
  const auto tier = open(there, {.timeout = 300ms, .check_at_open = false});
  const auto queue = tier->open_queue(64);
  EXPECT_FALSE(queue->available());
  EXPECT_EQ(read_until(*queue, ErrorCode::kUnavailable, memory_), ErrorCode::kUnavailable);
  server_ = std::make_unique<VerbsServer>(address_, port);
  server_->serve(kRegionId, kToken, memory_.data(), memory_.size());
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, memory_), ErrorCode::kOk);
}

engine::Task<void> walk(engine::Worker& worker, std::uint64_t place, int rounds, std::uint64_t& reads) {
  ReadBatch batch;
  for (int round = 0; round < rounds; ++round) {
    batch.count = 4;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      place = place * 6364136223846793005ULL + 1442695040888963407ULL;
      batch.reads[i] = {(place >> 20U) % (kRegionBytes - 256), 256};
    }
    if (co_await worker.read(batch) != ErrorCode::kOk) {
      co_return;
    }
    reads += batch.count;
    place += std::to_integer<std::uint64_t>(batch.views[3][255]);
    worker.release(batch);
  }
}

TEST_F(RdmaTierTest, UnderLoadADoorbellCarriesManyReadsAndTheNodeSleeps) {
  constexpr int kQueries = 400;
  constexpr int kRounds = 20;
  const auto tier = open(attachment());
  const auto queue = tier->open_queue(512);
  engine::Worker worker(*queue, 64);
  const double node_seconds = server_->stats().cpu_seconds;
  const auto started = std::chrono::steady_clock::now();
  int left = kQueries;
  std::uint64_t reads = 0;
  worker.run([&]() -> engine::Task<void> {
    return left-- > 0 ? walk(worker, static_cast<std::uint64_t>(left), kRounds, reads) : engine::Task<void>();
  });
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
  ASSERT_EQ(reads, 4U * kRounds * kQueries);
  EXPECT_EQ(counter(*tier, "reads"), reads);
  const double doorbells_per_read = static_cast<double>(counter(*tier, "doorbells")) / static_cast<double>(reads);
  const double node_cpu = server_->stats().cpu_seconds - node_seconds;
  std::cout << "rdma: " << reads << " reads of 256 B in " << taken.count() << " s; doorbells per read 1/"
            << 1 / doorbells_per_read << ", completions per read 1/"
            << static_cast<double>(reads) / static_cast<double>(counter(*tier, "completions"))
            << "; CPU time of the node's thread " << node_cpu << " s\n";
  EXPECT_LE(doorbells_per_read, 1.0 / 8);
  EXPECT_LT(node_cpu, 0.005) << "it has nothing to do with reads";
}

TEST_F(RdmaTierTest, ServerRefusesWhatItCannotServe) {
  EXPECT_EQ(refusal_of([&] { server_->serve(1, kToken, memory_.data(), 0); }).code, ErrorCode::kInvalidArgument);
  const Refusal taken = refusal_of([&] { const VerbsServer refused(address_, server_->port()); });
  EXPECT_EQ(taken.code, ErrorCode::kUnavailable) << taken.text;
  const Refusal elsewhere = refusal_of([] { const VerbsServer refused("127.0.0.2", 0); });
  EXPECT_EQ(elsewhere.code, ErrorCode::kUnsupported) << elsewhere.text;
  const Refusal device = refusal_of([&] { const VerbsServer refused(address_, 0, "mlx9_7"); });
  EXPECT_EQ(device.code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(contains(device.text, "mlx9_7") && contains(device.text, server_->device())) << device.text;
  server_->stop();
  server_->stop();
  EXPECT_EQ(refusal_of([&] { server_->serve(1, kToken, memory_.data(), 1); }).code, ErrorCode::kUnavailable);
}

TEST_F(RdmaTierTest, ServerListensOnEveryAddress) {
  VerbsServer everywhere("0.0.0.0", 0);
  everywhere.serve(kRegionId, kToken, memory_.data(), memory_.size());
  Attachment there = attachment();
  there.port = everywhere.port();
  const auto queue = open(there)->open_queue(8);
  EXPECT_EQ(read_until(*queue, ErrorCode::kOk, memory_), ErrorCode::kOk);
}

}  // namespace
}  // namespace tiervec::rdma

// Regions of several memory nodes over real sockets: servers of this process that are stopped and started again.

#include <tiervec/rdma/remote_tier.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/striped_tier.h>

#include "rdma/composite_reads.h"

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;
using testing::read_now;
using testing::set_reads;

constexpr std::uint64_t kRegionBytes = 3 * kStripeExtentBytes + 777;
// A busy machine keeps a node that answers waiting, not one that is down.
constexpr const char* kUrl = "tcp://127.0.0.1:1/region?timeout_ms=10000";
constexpr const char* kReplicasUrl = "tcp://127.0.0.1:1,127.0.0.1:2/region?timeout_ms=10000";

std::shared_ptr<NodeMemory> memory_of(const std::vector<std::byte>& bytes) {
  auto memory = std::make_shared<NodeMemory>(bytes.size(), false);
  std::memcpy(memory->data(), bytes.data(), bytes.size());
  return memory;
}

const std::vector<std::byte>& region() {
  static const std::vector<std::byte> bytes = testing::region_of(kRegionBytes);
  return bytes;
}

/// A memory node that can be stopped, and started again on its port.
class Node {
 public:
  explicit Node(std::shared_ptr<NodeMemory> memory, std::uint16_t port = 0) : memory_(std::move(memory)), port_(port) {
    start();
  }
  void stop() { server_.reset(); }
  void start() {
    server_ = std::make_unique<RegionServer>("127.0.0.1", port_);
    port_ = server_->port();
    server_->serve(7, token_, memory_, 0, memory_->size_bytes());
  }
  [[nodiscard]] Attachment attachment() const {
    return {.transport = "tcp",
            .host = "127.0.0.1",
            .port = port_,
            .region_id = 7,
            .size_bytes = memory_->size_bytes(),
            .token = token_};
  }
  [[nodiscard]] RegionServer& server() const { return *server_; }

 private:
  std::shared_ptr<NodeMemory> memory_;
  std::uint16_t port_;
  AttachToken token_{std::byte{1}, std::byte{2}};
  std::unique_ptr<RegionServer> server_;
};

/// A port that is listened on, where nothing is ever answered: a node that hangs.
class SilentPort {
 public:
  SilentPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    auto* address = reinterpret_cast<sockaddr*>(&address_);
    EXPECT_EQ(::bind(socket_, address, size), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    EXPECT_EQ(::getsockname(socket_, address, &size), 0);
  }
  ~SilentPort() { ::close(socket_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;
  [[nodiscard]] std::uint16_t port() const { return ntohs(address_.sin_port); }

 private:
  int socket_;
  sockaddr_in address_{};
};

Error refusal_of(const std::string& url, const std::vector<std::vector<Attachment>>& replicas) {
  try {
    (void)open_remote_tier(url, replicas);
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::kOk, "accepted"};
}

/// Threads that read all the time until they are stopped.
class Load {
 public:
  Load(const std::shared_ptr<Tier>& tier, unsigned threads) {
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      threads_.emplace_back([this, tier, thread] {
        const auto queue = tier->open_queue(64);
        engine::Worker worker(*queue, 8);
        testing::WalkOutcome outcome;
        std::uint64_t seed = thread;
        worker.run([&]() -> engine::Task<void> {
          ++queries_;
          return stop_ ? engine::Task<void>() : testing::walk(worker, kRegionBytes, seed += 3, 10, outcome);
        });
        wrong_ += outcome.wrong;
        failed_ += outcome.failed;
      });
    }
  }
  /// Waits until so many more queries were started.
  void run(std::uint64_t queries) {
    const std::uint64_t enough = queries_ + queries;
    const auto give_up = std::chrono::steady_clock::now() + 60s;
    while (queries_ < enough && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_GE(queries_, enough) << "the load came to a stop";
  }
  void finish() {
    stop_ = true;
    threads_.clear();
    EXPECT_EQ(wrong_, 0U);
    EXPECT_EQ(failed_, 0U);
  }
  ~Load() { stop_ = true; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> queries_{0};
  std::atomic<std::uint64_t> wrong_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::vector<std::jthread> threads_;
};

TEST(RemoteTier, OneNodeIsThatNodesTier) {
  const Node node(memory_of(region()));
  const auto tier = open_remote_tier(kUrl, {{node.attachment()}});
  EXPECT_EQ(tier->replicas(), 1U);
  EXPECT_EQ(tier->url(), kUrl);
  EXPECT_EQ(dynamic_cast<StripedTier*>(tier.get()), nullptr);
  const auto queue = tier->open_queue(4);
  ReadBatch batch;
  set_reads(batch, {{kStripeExtentBytes - 5, 10}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
}

TEST(RemoteTier, RefusesWhatIsNotOneRegion) {
  const Node node(memory_of(region()));
  const Node other(memory_of(testing::region_of(5000)));
  Attachment strange = node.attachment();
  strange.transport = "carrier-pigeon";
  const auto code = [](const Error& error) { return error.code(); };
  EXPECT_EQ(code(refusal_of("tcp://127.0.0.1:1/region", {})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(refusal_of("tcp://127.0.0.1:1/region", {{}})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(refusal_of(kReplicasUrl, {{node.attachment()}, {}})), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(refusal_of("nonsense", {{node.attachment()}})), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(refusal_of("tcp://127.0.0.1:1/region", {{strange}}).what()).find("transport 'carrier-pigeon'"),
            std::string::npos);
  EXPECT_NE(std::string(refusal_of(kReplicasUrl, {{node.attachment()}, {other.attachment()}}).what())
                .find("are not the same region"),
            std::string::npos);
  EXPECT_NE(
      std::string(refusal_of("tcp://127.0.0.1:1+127.0.0.1:2/region", {{node.attachment(), other.attachment()}}).what())
          .find("are not one region"),
      std::string::npos);
  Attachment stranger = node.attachment();
  stranger.token = {};
  EXPECT_NE(code(refusal_of(kReplicasUrl, {{node.attachment()}, {stranger}})), ErrorCode::kOk)
      << "a token that is wrong is no outage";
}

TEST(RemoteTier, StripesOverNodes) {
  std::vector<std::byte> parts[2];
  for (std::uint64_t at = 0; at < kRegionBytes; at += kStripeExtentBytes) {
    std::vector<std::byte>& part = parts[at / kStripeExtentBytes % 2];
    const std::uint64_t bytes = std::min(kStripeExtentBytes, kRegionBytes - at);
    part.insert(part.end(), region().begin() + static_cast<std::ptrdiff_t>(at),
                region().begin() + static_cast<std::ptrdiff_t>(at + bytes));
  }
  const Node first(memory_of(parts[0]));
  const Node second(memory_of(parts[1]));
  const auto tier = open_remote_tier("tcp://127.0.0.1:1+127.0.0.1:2/region?timeout_ms=10000",
                                     {{first.attachment(), second.attachment()}});
  EXPECT_EQ(tier->size_bytes(), kRegionBytes);
  Load load(tier, 2);
  load.run(200);
  load.finish();
  EXPECT_GT(first.server().stats().reads, 0U);
  EXPECT_GT(second.server().stats().reads, 0U);
}

TEST(RemoteTier, LosingOneOfTwoReplicasUnderLoadIsNotSeen) {
  const auto memory = memory_of(region());
  Node first(memory);
  Node second(memory);
  const auto tier = open_remote_tier(kReplicasUrl, {{first.attachment()}, {second.attachment()}});
  EXPECT_EQ(tier->replicas(), 2U);
  Load load(tier, 2);
  for (int round = 0; round < 3; ++round) {
    for (Node* node : {&first, &second}) {
      load.run(100);
      node->stop();
      load.run(100);
      node->start();
      const auto give_up = std::chrono::steady_clock::now() + 60s;
      while (node->server().stats().reads == 0 && std::chrono::steady_clock::now() < give_up) {
        std::this_thread::sleep_for(1ms);
      }
      EXPECT_GT(node->server().stats().reads, 0U) << "a node that is back is used again";
    }
  }
  load.finish();
}

TEST(RemoteTier, ARegionThatWasWithdrawnFromOneNodeIsReadFromTheOther) {
  const auto memory = memory_of(region());
  Node first(memory);
  Node second(memory);
  const auto tier = open_remote_tier(kReplicasUrl, {{first.attachment()}, {second.attachment()}});
  Load load(tier, 2);
  load.run(50);
  first.server().withdraw(7);
  load.run(200);
  load.finish();
  EXPECT_GT(second.server().stats().reads, 0U);
}

TEST(RemoteTier, AReplicaThatIsDownOrHangsAtOpenIsTakenInLater) {
  const auto memory = memory_of(region());
  Node first(memory);
  const Node second(memory);
  const SilentPort silent;
  Attachment hanging = second.attachment();
  hanging.port = silent.port();
  first.stop();
  const auto tier = open_remote_tier("tcp://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/region?timeout_ms=1000",
                                     {{first.attachment()}, {hanging}, {second.attachment()}});
  EXPECT_EQ(tier->replicas(), 3U);
  Load load(tier, 3);
  load.run(100);
  first.start();
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (first.server().stats().reads == 0 && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(1ms);
  }
  load.finish();
  EXPECT_GT(first.server().stats().reads, 0U);
}

TEST(RemoteTier, WithoutAnyReplicaItDoesNotOpen) {
  const auto memory = memory_of(region());
  Node first(memory);
  Node second(memory);
  first.stop();
  second.stop();
  EXPECT_EQ(refusal_of(kReplicasUrl, {{first.attachment()}, {second.attachment()}}).code(), ErrorCode::kUnavailable);
}

TEST(RemoteTier, LosingAllReplicasIsUnavailableAndEnds) {
  const auto memory = memory_of(region());
  Node first(memory);
  Node second(memory);
  const auto tier = open_remote_tier(kReplicasUrl, {{first.attachment()}, {second.attachment()}});
  const auto queue = tier->open_queue(8);
  ReadBatch batch;
  set_reads(batch, {{1, 2}});
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kOk);
  first.stop();
  second.stop();
  EXPECT_EQ(read_now(*queue, batch), ErrorCode::kUnavailable);
  second.start();
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (read_now(*queue, batch) != ErrorCode::kOk && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(batch.error, ErrorCode::kOk);
}

}  // namespace
}  // namespace tiervec::rdma

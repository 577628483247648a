// A network that goes down and comes back, delays and loses packets between a compute node and a memory node: two
// network namespaces joined by a pair of virtual interfaces. Sockets belong to the namespace of the thread that made
// them, so one process suffices.

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <tiervec/rdma/region_server.h>
#include <tiervec/rdma/tcp_tier.h>

#include "rdma/tcp/raw_socket.h"

namespace tiervec::rdma {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kRegionBytes = 1U << 20U;

/// Runs it in the namespace of this thread.
bool command(const std::string& line) {
  return std::system((line + " 2>/dev/null").c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
}

bool ip(const std::string& arguments) {
  return command("ip " + arguments);
}

Descriptor namespace_of_this_thread() {
  return Descriptor(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

ErrorCode read_now(TierQueue& queue, std::chrono::milliseconds* took = nullptr) {
  ReadBatch batch;
  batch.count = 2;
  batch.reads[0] = {12345, 256};
  batch.reads[1] = {kRegionBytes - 999, 999};
  const auto start = std::chrono::steady_clock::now();
  queue.submit(batch);
  queue.flush();
  ReadBatch* done[1];
  while (queue.poll(done) == 0) {
  }
  if (took != nullptr) {
    *took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  }
  if (batch.error == ErrorCode::kOk) {
    EXPECT_TRUE(testing::has_pattern({batch.views[0], 256}, 12345));
    EXPECT_TRUE(testing::has_pattern({batch.views[1], 999}, kRegionBytes - 999));
    queue.release(batch);
  }
  return batch.error;
}

bool comes_back(TierQueue& queue) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (std::chrono::steady_clock::now() < give_up) {
    const ErrorCode error = read_now(queue);
    if (error == ErrorCode::kOk) return true;
    EXPECT_EQ(error, ErrorCode::kUnavailable);
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

/// A node and a reader on both ends of one cable, cable0 at the reader's.
struct Network {
  std::shared_ptr<RegionServer> server;
  std::shared_ptr<Tier> tier;
  std::unique_ptr<TierQueue> queue;
};

/// A busy machine may need longer than the time-out for the first packets through a new cable.
std::shared_ptr<Tier> open_tier(const Attachment& attachment, std::chrono::milliseconds timeout) {
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (true) {
    try {
      return open_tcp_tier("tcp://192.0.2.2:1/region", attachment, {.timeout = timeout});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnavailable || std::chrono::steady_clock::now() > give_up) throw;
    }
  }
}

Network connect(const Descriptor& node_side, std::chrono::milliseconds timeout) {
  // The node's end of the cable goes into its namespace; addresses are of the range kept for documentation.
  const std::string process = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(node_side.number());
  const Descriptor compute_side = namespace_of_this_thread();
  EXPECT_TRUE(ip("link add cable0 type veth peer name cable1"));
  EXPECT_TRUE(ip("link set cable1 netns " + process));
  EXPECT_TRUE(ip("addr add 192.0.2.1/24 dev cable0"));
  EXPECT_TRUE(ip("link set cable0 up"));
  EXPECT_EQ(::setns(node_side.number(), CLONE_NEWNET), 0);
  EXPECT_TRUE(ip("addr add 192.0.2.2/24 dev cable1"));
  EXPECT_TRUE(ip("link set cable1 up"));
  Network network;
  network.server = std::make_shared<RegionServer>("192.0.2.2", 0);
  network.server->serve(1, testing::kToken, testing::patterned_memory(kRegionBytes), 0, kRegionBytes);
  EXPECT_EQ(::setns(compute_side.number(), CLONE_NEWNET), 0);

  Attachment attachment = testing::attachment_at(network.server->port(), 1, kRegionBytes);
  attachment.host = "192.0.2.2";
  network.tier = open_tier(attachment, timeout);
  network.queue = network.tier->open_queue(64);
  EXPECT_TRUE(comes_back(*network.queue));
  return network;
}

/// Runs `test` with the network, where there are namespaces; else the test is skipped and says why.
void in_two_namespaces(std::chrono::milliseconds timeout, const std::function<std::string(Network&)>& test) {
  std::string missing;
  std::thread([&] {  // a thread of its own: it leaves the namespace of the others
    if (::unshare(CLONE_NEWNET) != 0) {
      missing = "network namespaces are not permitted here (CAP_SYS_ADMIN)";
      return;
    }
    const Descriptor node_side = namespace_of_this_thread();
    if (::unshare(CLONE_NEWNET) != 0 || !ip("link set lo up")) {
      missing = "the command ip is missing (package iproute2)";
      return;
    }
    if (!ip("link add probe0 type veth peer name probe1")) {
      missing = "virtual interfaces (veth) are not available here";
      return;
    }
    Network network = connect(node_side, timeout);
    if (!::testing::Test::HasFailure()) missing = test(network);
  })
      .join();
  if (!missing.empty()) {
    GTEST_SKIP() << missing;
  }
}

TEST(Partition, TheLinkGoesDownAndUp) {
  in_two_namespaces(100ms, [](Network& network) -> std::string {
    for (int cut = 0; cut < 2; ++cut) {
      EXPECT_TRUE(comes_back(*network.queue));
      EXPECT_TRUE(ip("link set cable0 down"));
      std::chrono::milliseconds took{};
      EXPECT_EQ(read_now(*network.queue, &took), ErrorCode::kUnavailable);
      EXPECT_LT(took, 10s);  // the time-out's work, not the system's minutes
      for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(read_now(*network.queue), ErrorCode::kUnavailable);
      }
      EXPECT_EQ(read_now(*network.tier->open_queue(8)), ErrorCode::kUnavailable) << "a queue opened meanwhile";
      EXPECT_TRUE(ip("link set cable0 up"));
      EXPECT_TRUE(comes_back(*network.queue));
    }
    return "";
  });
}

constexpr const char* kNoNetem = "the command tc or the kernel's sch_netem is missing (`make guest` has both)";

TEST(Partition, PacketsAreDelayedAndLost) {
  in_two_namespaces(60s, [](Network& network) -> std::string {
    if (!command("tc qdisc add dev cable0 root netem delay 5ms 2ms loss 3%")) return kNoNetem;
    for (int i = 0; i < 100; ++i) {
      std::chrono::milliseconds took{};
      EXPECT_EQ(read_now(*network.queue, &took), ErrorCode::kOk);
      EXPECT_GE(took, 3ms) << "the packets were not delayed";
    }
    return "";
  });
}

TEST(Partition, ALinkSlowerThanTheTimeOutIsUnavailable) {
  in_two_namespaces(100ms, [](Network& network) -> std::string {
    if (!command("tc qdisc add dev cable0 root netem delay 3000ms")) return kNoNetem;
    EXPECT_EQ(read_now(*network.queue), ErrorCode::kUnavailable);
    EXPECT_TRUE(command("tc qdisc del dev cable0 root"));
    EXPECT_TRUE(comes_back(*network.queue));
    return "";
  });
}

}  // namespace
}  // namespace tiervec::rdma

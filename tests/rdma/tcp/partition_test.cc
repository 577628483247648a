// A network that goes down and comes back between a compute node and a memory node: two network namespaces joined by a
// pair of virtual interfaces. Sockets belong to the namespace of the thread that made them, so one process suffices.

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
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

/// Runs `ip ARGUMENTS` in the namespace of this thread.
bool ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
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
  const auto give_up = std::chrono::steady_clock::now() + 20s;
  while (std::chrono::steady_clock::now() < give_up) {
    const ErrorCode error = read_now(queue);
    if (error == ErrorCode::kOk) return true;
    EXPECT_EQ(error, ErrorCode::kUnavailable);
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

void cut_and_join(const Descriptor& node_side) {
  // The node's end of the cable goes into its namespace; addresses are of the range kept for documentation.
  const std::string process = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(node_side.number());
  const Descriptor compute_side = namespace_of_this_thread();
  ASSERT_TRUE(ip("link add cable0 type veth peer name cable1"));
  ASSERT_TRUE(ip("link set cable1 netns " + process));
  ASSERT_TRUE(ip("addr add 192.0.2.1/24 dev cable0"));
  ASSERT_TRUE(ip("link set cable0 up"));
  ASSERT_EQ(::setns(node_side.number(), CLONE_NEWNET), 0);
  ASSERT_TRUE(ip("addr add 192.0.2.2/24 dev cable1"));
  ASSERT_TRUE(ip("link set cable1 up"));
  RegionServer server("192.0.2.2", 0);
  server.serve(1, testing::kToken, testing::patterned_memory(kRegionBytes), 0, kRegionBytes);
  ASSERT_EQ(::setns(compute_side.number(), CLONE_NEWNET), 0);

  Attachment attachment = testing::attachment_at(server.port(), 1, kRegionBytes);
  attachment.host = "192.0.2.2";
  const auto tier = open_tcp_tier("tcp://192.0.2.2:1/region", attachment, {.timeout = 100ms});
  const auto queue = tier->open_queue(64);
  for (int cut = 0; cut < 2; ++cut) {
    ASSERT_EQ(read_now(*queue), ErrorCode::kOk);
    ASSERT_TRUE(ip("link set cable0 down"));
    std::chrono::milliseconds took{};
    EXPECT_EQ(read_now(*queue, &took), ErrorCode::kUnavailable);
    EXPECT_LT(took, 10s);  // the time-out's work, not the system's minutes
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(read_now(*queue), ErrorCode::kUnavailable);
    }
    EXPECT_EQ(read_now(*tier->open_queue(8)), ErrorCode::kUnavailable) << "a queue opened meanwhile";
    ASSERT_TRUE(ip("link set cable0 up"));
    EXPECT_TRUE(comes_back(*queue));
  }
}

TEST(Partition, TheLinkGoesDownAndUp) {
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
    cut_and_join(node_side);
  })
      .join();
  if (!missing.empty()) {
    GTEST_SKIP() << missing;
  }
}

}  // namespace
}  // namespace tiervec::rdma

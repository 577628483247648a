// A memory node that accepts connections and answers no read, as one whose machine has stopped. Needs an RDMA device:
// TIERVEC_TEST_RDMA.

#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <tiervec/rdma/rdma_tier.h>

#include "../../rdma/src/verbs/handshake.h"
#include "../../rdma/src/verbs/verbs_connection.h"
#include "../../rdma/src/verbs/verbs_library.h"

namespace tiervec::rdma::verbs {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kRegionBytes = 4096;

class SilentNode {
 public:
  explicit SilentNode(const std::string& host) {
    sockaddr_storage address = resolve_host("test", host, 0);
    channel_ = make_event_channel(library_);
    listener_ = make_identifier(library_, *channel_);
    EXPECT_EQ(library_.bind_addr(listener_.get(), reinterpret_cast<sockaddr*>(&address)), 0);
    EXPECT_EQ(library_.listen(listener_.get(), 8), 0);
    domain_.reset(library_.alloc_pd(listener_->device));
    completions_.reset(library_.create_cq(listener_->device, 1, nullptr, nullptr, 0));
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  [[nodiscard]] Attachment attachment(const std::string& host) const {
    return {.transport = "rdma",
            .host = host,
            .port = ntohs(library_.src_port(listener_.get())),
            .size_bytes = kRegionBytes};
  }
  [[nodiscard]] int connections() const noexcept { return connections_; }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd waited{.fd = channel_->file, .events = POLLIN, .revents = 0};
      if (::poll(&waited, 1, 20) <= 0) {
        continue;
      }
      const EventHandle event = next_event(library_, *channel_);
      if (event != nullptr && event->type == abi::EventType::kConnectRequest) {
        accept(event->identifier);
      } else if (event != nullptr && event->type == abi::EventType::kEstablished) {
        library_.destroy_qp(event->identifier);  // whatever arrives for it is dropped without a word
        ++connections_;
      }
    }
  }

  void accept(abi::Identifier* identifier) {
    accepted_.emplace_back(identifier);
    abi::QueuePairAttributes attributes{};
    attributes.send_completions = completions_.get();
    attributes.receive_completions = completions_.get();
    attributes.type = abi::kReliableConnection;
    attributes.max_sends = attributes.max_receives = 1;
    attributes.max_send_pieces = attributes.max_receive_pieces = 1;
    EXPECT_EQ(library_.create_qp(identifier, domain_.get(), &attributes), 0);
    const auto data = encode(ConnectAccept{.size_bytes = kRegionBytes});
    abi::ConnectionParameters parameters{};
    parameters.private_data = data.data();
    parameters.private_bytes = static_cast<std::uint8_t>(data.size());
    parameters.reads_answered_at_once = 16;
    EXPECT_EQ(library_.accept(identifier, &parameters), 0);
  }

  const VerbsLibrary& library_ = verbs_library();
  ChannelHandle channel_;
  DomainHandle domain_;
  CompletionQueueHandle completions_;
  IdentifierHandle listener_;
  std::vector<IdentifierHandle> accepted_;
  std::atomic<int> connections_{0};
  std::jthread thread_;
};

std::string address_or_skip() {
  const char* address = std::getenv("TIERVEC_TEST_RDMA");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  return address == nullptr ? "" : address;
}

TEST(SilentNode, IsGivenUpInTimeAndAskedAgain) {
  const std::string host = address_or_skip();
  if (host.empty()) {
    GTEST_SKIP() << "TIERVEC_TEST_RDMA names no RDMA device; `make guest` runs this with one";
  }
  const SilentNode node(host);
  const auto tier =
      open_rdma_tier("rdma://silent:1/region", node.attachment(host), {.timeout = 4000ms, .check_at_open = false});
  const auto queue = tier->open_queue(8);
  ASSERT_TRUE(queue->available());
  const auto give_up = std::chrono::steady_clock::now() + 60s;
  while (node.connections() == 0 && std::chrono::steady_clock::now() < give_up) {  // it is silent from then on
  }
  std::array<ReadBatch, 2> batches;
  for (ReadBatch& batch : batches) {
    batch.count = 2;
    batch.reads[0] = {0, 64};
    batch.reads[1] = {1000, 64};
    queue->submit(batch);
  }
  queue->flush();
  queue->cancel(batches[1]);  // comes back without waiting for the node
  std::array<ReadBatch*, 2> done{};
  const auto started = std::chrono::steady_clock::now();
  ASSERT_EQ(queue->poll(done), 1U);
  EXPECT_EQ(done[0], &batches[1]);
  EXPECT_EQ(batches[1].error, ErrorCode::kCancelled);

  while (queue->poll(done) == 0 && std::chrono::steady_clock::now() < give_up) {
  }
  EXPECT_EQ(done[0], &batches[0]);
  EXPECT_EQ(batches[0].error, ErrorCode::kUnavailable);
  EXPECT_GE(std::chrono::steady_clock::now() - started, 3900ms) << "it might still have answered";
  EXPECT_FALSE(queue->available());
  EXPECT_EQ(queue->in_flight(), 0U);
  EXPECT_TRUE(queue->can_submit(8)) << "what was lost kept its room";
  while (node.connections() < 2 && std::chrono::steady_clock::now() < give_up) {
    (void)queue->poll(done);
  }
  EXPECT_GE(node.connections(), 2) << "it did not connect again";
}

}  // namespace
}  // namespace tiervec::rdma::verbs

// A memory node that accepts connections and answers no read, as one whose machine has stopped. Needs an RDMA device:
// TIERVEC_TEST_RDMA.

#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)

#include <dlfcn.h>
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
    channel_ = library_.create_event_channel();
    EXPECT_EQ(library_.create_id(channel_, &listener_, nullptr, RDMA_PS_TCP), 0);
    EXPECT_EQ(library_.bind_addr(listener_, reinterpret_cast<sockaddr*>(&address)), 0);
    EXPECT_EQ(library_.listen(listener_, 8), 0);
    domain_ = library_.alloc_pd(listener_->verbs);
    completions_ = library_.create_cq(listener_->verbs, 1, nullptr, nullptr, 0);
    modify_qp_ = reinterpret_cast<decltype(&::ibv_modify_qp)>(
        ::dlsym(::dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL), "ibv_modify_qp"));
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  SilentNode(const SilentNode&) = delete;
  SilentNode& operator=(const SilentNode&) = delete;
  ~SilentNode() {
    thread_.request_stop();
    thread_.join();
    for (rdma_cm_id* id : accepted_) {
      library_.destroy_qp(id);
      library_.destroy_id(id);
    }
    library_.destroy_cq(completions_);
    library_.dealloc_pd(domain_);
    library_.destroy_id(listener_);
    library_.destroy_event_channel(channel_);
  }

  [[nodiscard]] Attachment attachment(const std::string& host) const {
    return {.transport = "rdma", .host = host, .port = ntohs(library_.src_port(listener_)), .size_bytes = kRegionBytes};
  }
  [[nodiscard]] int connections() const noexcept { return connections_; }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd waited{.fd = channel_->fd, .events = POLLIN, .revents = 0};
      rdma_cm_event* event = nullptr;
      if (::poll(&waited, 1, 20) <= 0 || library_.get_cm_event(channel_, &event) != 0) {
        continue;
      }
      if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
        accept(event->id);
      } else if (event->event == RDMA_CM_EVENT_ESTABLISHED) {
        ibv_qp_attr reset{};
        reset.qp_state = IBV_QPS_RESET;  // drops whatever arrives
        EXPECT_EQ(modify_qp_(event->id->qp, &reset, IBV_QP_STATE), 0);
        ++connections_;
      }
      library_.ack_cm_event(event);
    }
  }

  void accept(rdma_cm_id* id) {
    ibv_qp_init_attr attributes{};
    attributes.send_cq = completions_;
    attributes.recv_cq = completions_;
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap = {.max_send_wr = 1, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = 0};
    EXPECT_EQ(library_.create_qp(id, domain_, &attributes), 0);
    const auto data = encode(ConnectAccept{.size_bytes = kRegionBytes});
    rdma_conn_param parameters{};
    parameters.private_data = data.data();
    parameters.private_data_len = static_cast<std::uint8_t>(data.size());
    parameters.responder_resources = 16;
    EXPECT_EQ(library_.accept(id, &parameters), 0);
    accepted_.push_back(id);
  }

  const VerbsLibrary& library_ = verbs_library();
  rdma_event_channel* channel_ = nullptr;
  rdma_cm_id* listener_ = nullptr;
  ibv_pd* domain_ = nullptr;
  ibv_cq* completions_ = nullptr;
  decltype(&::ibv_modify_qp) modify_qp_ = nullptr;
  std::vector<rdma_cm_id*> accepted_;
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

#endif

#include <tiervec/rdma/tcp_tier.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <tiervec/core/system_error.h>
#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/measure.h>

#include "node_connection.h"
#include "tcp_queue.h"

namespace tiervec::rdma {

namespace {

constexpr int kMeasuredRuns = 3;

// Typical of a local network; a tier that is checked at open measures its own.
DeviceProfile nominal_profile() {
  return {.latency_us = 50, .reads_per_s = 1.5e6, .bytes_per_s = 1.2e9, .block_bytes = 64};
}

class TcpTier final : public Tier {
 public:
  TcpTier(std::string url, NodeAddress node, std::string node_name)
      : url_(std::move(url)), node_(std::move(node)), node_name_(std::move(node_name)) {
    (void)TickClock::ticks_per_ns();  // calibrates now rather than in the first query
  }

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return node_.region_bytes; }
  [[nodiscard]] DeviceProfile profile() const override { return profile_; }
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }

  /// Throws what keeps the node from answering.
  void check();
  void measure();

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override {
    return std::make_unique<TcpQueue>(shared_from_this(), node_, limits);
  }

  std::string url_;
  NodeAddress node_;
  std::string node_name_;
  DeviceProfile profile_ = nominal_profile();
};

[[noreturn]] void fail(ErrorCode code, const std::string& node, const std::string& what) {
  throw Error(code, "memory node " + node + " " + what);
}

void TcpTier::check() {
  NodeConnection connection(node_);
  connection.wait_until_settled();
  if (connection.up()) {
    return;
  }
  switch (connection.last_answer()) {
    case wire::Answer::kWrongVersion:
      fail(ErrorCode::kUnsupported, node_name_,
           "speaks version " + std::to_string(connection.node_version()) +
               " of the data plane and this TierVec version " + std::to_string(wire::kVersion) +
               "; both sides need the same");
    case wire::Answer::kUnknownRegion:
      fail(ErrorCode::kNotFound, node_name_, "does not serve the region of " + url_ + " (any more)");
    case wire::Answer::kWrongToken:
      fail(ErrorCode::kPermissionDenied, node_name_, "refuses the attach token for the region of " + url_);
    case wire::Answer::kFull:
      fail(ErrorCode::kUnavailable, node_name_, "has no room for another connection");
    case wire::Answer::kFullForAddress:
      fail(ErrorCode::kUnavailable, node_name_,
           "serves as many connections from this machine's address as it lets one address have; open fewer indexes or "
           "threads here, or start the node with a higher --max-readers-per-address");
    case wire::Answer::kAccepted:
      break;
  }
  if (connection.last_errno() == EACCES) {
    fail(ErrorCode::kInvalidArgument, node_name_,
         "serves " + std::to_string(connection.node_region_bytes()) + " bytes as the region of " + url_ +
             ", which was attached with " + std::to_string(node_.region_bytes));
  }
  if (connection.last_errno() == EPROTO) {
    fail(ErrorCode::kUnavailable, node_name_, "answers with something else than the data plane's protocol");
  }
  if (code_of_errno(connection.last_errno()) ==
      ErrorCode::kResourceExhausted) {  // this machine's limit, not the node's
    throw system_error("connecting to " + node_name_, connection.last_errno());
  }
  fail(ErrorCode::kUnavailable, node_name_, with_errno("does not answer", connection.last_errno()));
}

// Measures one queue: what one worker can get from the node now. The best of some runs: while the machine is busy with
// something else, a run shows less than the limit.
void TcpTier::measure() {
  const auto at_most = [this](std::uint32_t bytes) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, node_.region_bytes));
  };
  const auto reads_per_s = [&](std::uint32_t bytes, std::uint32_t in_flight) {
    double best = 0;
    for (int run = 0; run < kMeasuredRuns; ++run) {
      best = std::max(
          best,
          measure_reads_per_s(
              *this, {.read_bytes = at_most(bytes), .threads = 1, .reads_in_flight = in_flight, .seconds = 0.01}));
    }
    return best;
  };
  const std::vector<double> latency_ns = measure_latency_ns(*this, at_most(64), 101, 1);
  take_measured(profile_, latency_ns[latency_ns.size() / 2] * 1e-3, reads_per_s(128, 256),
                reads_per_s(16384, 64) * at_most(16384));
}

NodeAddress address_of(const std::string& url, const Attachment& attachment, const TcpOptions& options) {
  if (attachment.transport != "tcp") {
    throw Error(ErrorCode::kInvalidArgument,
                "the region of " + url + " was attached for '" + attachment.transport + "', not for 'tcp'");
  }
  if (attachment.size_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument, "the region of " + url + " has 0 bytes; a region has at least 1");
  }
  if (options.timeout.count() <= 0) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "the time-out of " + url + " is " + std::to_string(options.timeout.count()) + " ms; it must be at least 1 ms");
  }
  return {resolve(attachment.host, attachment.port, false),
          attachment.region_id,
          attachment.size_bytes,
          attachment.token,
          options.timeout,
          options.time};
}

}  // namespace

std::shared_ptr<Tier> open_tcp_tier(const std::string& url, const Attachment& attachment, TcpOptions options) {
  auto tier =
      std::make_shared<TcpTier>(url, address_of(url, attachment, options), place(attachment.host, attachment.port));
  if (options.check_at_open) {
    tier->check();
    tier->measure();
  }
  return tier;
}

}  // namespace tiervec::rdma

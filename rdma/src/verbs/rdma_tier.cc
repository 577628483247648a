#include <tiervec/rdma/rdma_tier.h>

#include <algorithm>
#include <utility>

#include <tiervec/rdma/measure.h>

#include "verbs_queue.h"

namespace tiervec::rdma {

namespace {

using verbs::CounterLedger;
using verbs::Endpoint;
using verbs::VerbsConnection;
using verbs::VerbsLibrary;
using verbs::VerbsQueue;

// Typical of one 200 Gbit/s card; a tier that is checked at open measures its own.
DeviceProfile nominal_profile() {
  return {.latency_us = 3, .reads_per_s = 60e6, .bytes_per_s = 24e9, .block_bytes = 64};
}

class RdmaTier final : public Tier {
 public:
  RdmaTier(std::string url, const VerbsLibrary& library, const Endpoint& endpoint, DeviceProfile profile)
      : url_(std::move(url)), library_(library), endpoint_(endpoint), profile_(std::move(profile)) {
    (void)TickClock::ticks_per_ns();  // calibrates now rather than in the first query
  }

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return endpoint_.size_bytes; }
  [[nodiscard]] DeviceProfile profile() const override { return profile_; }
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }

  [[nodiscard]] std::vector<TierCounter> counters() const override {
    const CounterLedger::Totals totals = ledger_.totals();
    return {{"reads", totals.reads},
            {"doorbells", totals.doorbells},
            {"completions", totals.completions},
            {"connections", totals.connections}};
  }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override {
    verbs::refuse_inherited_devices("tier " + url_);
    return std::make_unique<VerbsQueue>(shared_from_this(), library_, endpoint_, ledger_, limits);
  }

  std::string url_;
  const VerbsLibrary& library_;
  Endpoint endpoint_;
  DeviceProfile profile_;
  CounterLedger ledger_;
};

/// Throws what keeps the node from answering.
void check(const std::string& what, const VerbsLibrary& library, const Endpoint& endpoint) {
  HugeBuffer memory(1);
  VerbsConnection connection(library, endpoint, {memory.as<std::byte>(), memory.bytes()}, 1);
  if (!connection.wait()) {
    throw connection.failure(what);
  }
}

/// Measures one queue: what one worker can get from the node now.
DeviceProfile measured_profile(Tier& tier) {
  const auto at_most = [&](std::uint32_t bytes) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, tier.size_bytes()));
  };
  const auto reads_per_s = [&](std::uint32_t bytes, std::uint32_t in_flight) {
    return measure_reads_per_s(
        tier, {.read_bytes = at_most(bytes), .threads = 1, .reads_in_flight = in_flight, .seconds = 0.01});
  };
  DeviceProfile profile = nominal_profile();
  const std::vector<double> latency_ns = measure_latency_ns(tier, at_most(64), 101, 1);
  take_measured(profile, latency_ns[latency_ns.size() / 2] * 1e-3, reads_per_s(128, 256),
                reads_per_s(16384, 64) * at_most(16384));
  return profile;
}

Endpoint endpoint_of(const std::string& what, const Attachment& attachment, const RdmaOptions& options) {
  if (attachment.transport != "rdma") {
    throw Error(ErrorCode::kInvalidArgument,
                what + ": its region was attached for '" + attachment.transport + "', not for 'rdma'");
  }
  if (attachment.size_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument, what + ": its region has 0 bytes; a region has at least 1");
  }
  if (options.timeout.count() <= 0) {
    throw Error(ErrorCode::kInvalidArgument, what + ": its time-out is " + std::to_string(options.timeout.count()) +
                                                 " ms; it must be at least 1 ms");
  }
  return {.address = verbs::resolve_host(what, attachment.host, attachment.port),
          .region_id = attachment.region_id,
          .size_bytes = attachment.size_bytes,
          .token = attachment.token,
          .timeout = options.timeout,
          .max_outstanding = options.max_outstanding};
}

}  // namespace

std::shared_ptr<Tier> open_rdma_tier(const std::string& url, const Attachment& attachment, RdmaOptions options) {
  const std::string what = "tier " + url;
  const VerbsLibrary& library = verbs::require_device(what);
  const Endpoint endpoint = endpoint_of(what, attachment, options);
  DeviceProfile profile = nominal_profile();
  if (options.check_at_open) {
    check(what, library, endpoint);
    // A tier of its own, so that what is counted later is the reader's.
    profile = measured_profile(*std::make_shared<RdmaTier>(url, library, endpoint, profile));
  }
  return std::make_shared<RdmaTier>(url, library, endpoint, std::move(profile));
}

}  // namespace tiervec::rdma

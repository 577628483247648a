#pragma once

// One region with several copies, each a tier: reads go on while one copy answers.
//
//   batch --submit--> queue of the replica in use --poll--> done
//                       ^        `-- kUnavailable: at once to the next replica
//                       |                            `-- every replica failed: held, asked again every 10 ms
//                       `------------------------------------'     `-- for 1 s in all, then kUnavailable
//
// - Each queue has a home, another one for each in turn, and keeps to it as long as it answers: a flush stays one
// message
//   to one node, whole, and the nodes share the load of many threads. Of the others it reads only after a failure.
// - A replica that failed is left alone for 10 ms, doubling to 1 s while it keeps failing, and for as long as its queue
//   says that it is not available. Then the queue goes home.
// - A batch is held no longer than the outage lasts and at most 1 s. In an outage that lasts longer, a batch fails as
//   soon as every replica has failed it. A deadline or a cancel ends it earlier.
// - What is wrong with a batch (kInvalidArgument) is not tried twice.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

class ReplicatedTier final : public Tier {
 public:
  /// Throws Error(kInvalidArgument) for no replica, or replicas of different sizes.
  ReplicatedTier(std::string url, std::vector<std::shared_ptr<Tier>> replicas, TimeSource time = {});

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return replicas_.front()->size_bytes(); }
  /// The profile of one replica: what is left when the others are gone.
  [[nodiscard]] DeviceProfile profile() const override { return replicas_.front()->profile(); }
  [[nodiscard]] bool verified_at_open() const noexcept override;
  /// The replicas' together, and `passed_on`: how often a batch went on to another replica.
  [[nodiscard]] std::vector<TierCounter> counters() const override;
  [[nodiscard]] std::uint32_t replicas() const noexcept override {
    return static_cast<std::uint32_t>(replicas_.size());
  }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  std::string url_;
  std::vector<std::shared_ptr<Tier>> replicas_;
  std::atomic<std::uint32_t> queues_{0};     // made so far
  std::atomic<std::uint64_t> passed_on_{0};  // batches, by all queues
  TimeSource time_;
};

}  // namespace tiervec::rdma

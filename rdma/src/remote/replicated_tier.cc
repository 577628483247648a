#include <tiervec/rdma/replicated_tier.h>

#include <algorithm>
#include <utility>

#include "replicated_queue.h"

namespace tiervec::rdma {

ReplicatedTier::ReplicatedTier(std::string url, std::vector<std::shared_ptr<Tier>> replicas, TimeSource time)
    : url_(std::move(url)), replicas_(std::move(replicas)), time_(time) {
  if (replicas_.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "replicated tier " + url_ + " needs at least 1 replica, got 0");
  }
  for (const auto& replica : replicas_) {
    if (replica->size_bytes() != replicas_.front()->size_bytes()) {
      throw Error(ErrorCode::kInvalidArgument, "the replicas of " + url_ +
                                                   " are not the same region: " + replicas_.front()->url() + " has " +
                                                   std::to_string(replicas_.front()->size_bytes()) + " bytes, " +
                                                   replica->url() + " has " + std::to_string(replica->size_bytes()));
    }
  }
}

bool ReplicatedTier::verified_at_open() const noexcept {
  return std::all_of(replicas_.begin(), replicas_.end(),
                     [](const auto& replica) { return replica->verified_at_open(); });
}

std::vector<TierCounter> ReplicatedTier::counters() const {
  std::vector<TierCounter> all = sum_of_counters(replicas_);
  all.push_back({"passed_on", passed_on_.load(std::memory_order_relaxed)});
  return all;
}

std::unique_ptr<TierQueue> ReplicatedTier::make_queue(const QueueLimits& limits) {
  std::vector<std::unique_ptr<TierQueue>> queues;
  queues.reserve(replicas_.size());
  for (const auto& replica : replicas_) {
    queues.push_back(replica->open_queue(limits));
  }
  const std::uint32_t home = queues_.fetch_add(1, std::memory_order_relaxed) % replicas();
  return std::make_unique<ReplicatedQueue>(shared_from_this(), passed_on_, std::move(queues), home, limits.max_reads,
                                           time_);
}

}  // namespace tiervec::rdma

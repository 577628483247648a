#include <tiervec/rdma/tier.h>

#include <algorithm>

namespace tiervec::rdma {

std::unique_ptr<TierQueue> Tier::open_queue(QueueLimits limits) {
  if (limits.max_reads == 0 || limits.max_read_bytes == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "a queue of tier " + url() + " needs room for at least 1 read of 1 byte, got " +
                    std::to_string(limits.max_reads) + " reads of " + std::to_string(limits.max_read_bytes) + " bytes");
  }
  return make_queue(limits);
}

std::vector<TierCounter> sum_of_counters(std::span<const std::shared_ptr<Tier>> tiers) {
  std::vector<TierCounter> sums;
  for (const std::shared_ptr<Tier>& tier : tiers) {
    for (const TierCounter& counter : tier == nullptr ? std::vector<TierCounter>() : tier->counters()) {
      const auto sum =
          std::find_if(sums.begin(), sums.end(), [&](const TierCounter& at) { return at.name == counter.name; });
      if (sum == sums.end()) {
        sums.push_back(counter);
      } else {
        sum->value += counter.value;
      }
    }
  }
  return sums;
}

}  // namespace tiervec::rdma

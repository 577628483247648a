#include <tiervec/rdma/emulated_tier.h>

#include <bit>
#include <cassert>
#include <utility>

#include "emulated_queue.h"

namespace tiervec::rdma {

EmulatedTier::EmulatedTier(std::string url, DeviceProfile profile, MemoryRegion region, TimeSource time)
    : url_(std::move(url)), profile_(std::move(profile)), region_(std::move(region)), time_(time) {
  assert(std::has_single_bit(profile_.block_bytes));
  (void)TickClock::ticks_per_ns();  // calibrates now rather than in the first query
}

std::shared_ptr<Tier> EmulatedTier::open(const TierUrl& url, const std::string& region_path) {
  return std::make_shared<EmulatedTier>(url.text, parse_emulated_profile(url), MemoryRegion::load(region_path));
}

std::unique_ptr<TierQueue> EmulatedTier::make_queue(const QueueLimits& limits) {
  auto self = std::static_pointer_cast<const EmulatedTier>(shared_from_this());
  return std::make_unique<EmulatedQueue>(std::move(self), server_, LoadStoreTarget(region_, limits.max_read_bytes),
                                         limits.max_reads, time_);
}

}  // namespace tiervec::rdma

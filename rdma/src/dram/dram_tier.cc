#include <tiervec/rdma/dram_tier.h>

#include <tiervec/rdma/load_store_queue.h>

namespace tiervec::rdma {

std::shared_ptr<DramTier> DramTier::from_bytes(std::span<const std::byte> bytes) {
  return std::make_shared<DramTier>(MemoryRegion::copy_of(bytes));
}

std::shared_ptr<Tier> DramTier::open(const TierUrl& /*url*/, const std::string& region_path) {
  return std::make_shared<DramTier>(MemoryRegion::load(region_path));
}

// Typical of one core of a server; `tiervec profile dram:` measures the machine at hand.
DeviceProfile DramTier::profile() const {
  return {.latency_us = 0.1, .reads_per_s = 80e6, .bytes_per_s = 12e9, .block_bytes = 64};
}

std::unique_ptr<TierQueue> DramTier::make_queue(const QueueLimits& limits) {
  return std::make_unique<LoadStoreQueue>(shared_from_this(), LoadStoreTarget(region_, limits.max_read_bytes),
                                          limits.max_reads);
}

}  // namespace tiervec::rdma

#include <tiervec/rdma/mmap_tier.h>

#include <tiervec/rdma/load_store_queue.h>

namespace tiervec::rdma {

std::shared_ptr<Tier> MmapTier::open(const TierUrl& /*url*/, const std::string& region_path) {
  return std::make_shared<MmapTier>(MemoryRegion::map(region_path));
}

// Typical of one core of a server while the file is in the page cache; a page that is not costs a disk read.
DeviceProfile MmapTier::profile() const {
  return {.latency_us = 0.1, .reads_per_s = 80e6, .bytes_per_s = 12e9, .block_bytes = 64};
}

std::unique_ptr<TierQueue> MmapTier::make_queue(const QueueLimits& limits) {
  return std::make_unique<LoadStoreQueue>(shared_from_this(), LoadStoreTarget(region_, limits.max_read_bytes),
                                          limits.max_reads);
}

}  // namespace tiervec::rdma

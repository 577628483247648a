#pragma once

#include <memory>
#include <string>
#include <utility>

#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

/// `mmap:`: the file itself, mapped read-only (page cache, FS-DAX). It must not shrink while it is open: a read of the
/// lost part would end the process.
class MmapTier final : public Tier {
 public:
  explicit MmapTier(MemoryRegion region) : region_(std::move(region)) {}
  static std::shared_ptr<Tier> open(const TierUrl& url, const std::string& region_path);

  [[nodiscard]] std::string url() const override { return "mmap:"; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region_.size_bytes(); }
  [[nodiscard]] DeviceProfile profile() const override;
  [[nodiscard]] bool verified_at_open() const noexcept override { return false; }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  MemoryRegion region_;
};

inline constexpr TierScheme kMmapScheme{"mmap", "mmap:", "the index files mapped: page cache or FS-DAX",
                                        require_nothing_after_scheme, MmapTier::open};

}  // namespace tiervec::rdma

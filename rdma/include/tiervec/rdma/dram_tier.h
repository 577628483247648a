#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>

#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

/// `dram:`: anonymous huge-page memory of this process.
class DramTier final : public Tier {
 public:
  explicit DramTier(MemoryRegion region) : region_(std::move(region)) {}
  /// A tier with a copy of `bytes`, without a file.
  static std::shared_ptr<DramTier> from_bytes(std::span<const std::byte> bytes);
  static std::shared_ptr<Tier> open(const TierUrl& url, const std::string& region_path);

  [[nodiscard]] std::string url() const override { return "dram:"; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region_.size_bytes(); }
  [[nodiscard]] std::span<const std::byte> loaded_bytes() const noexcept override { return region_.bytes(); }
  [[nodiscard]] DeviceProfile profile() const override;

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  MemoryRegion region_;
};

inline constexpr TierScheme kDramScheme{"dram",
                                        "dram:", "anonymous huge-page memory of this process, loaded from the index",
                                        require_nothing_after_scheme, DramTier::open};

}  // namespace tiervec::rdma

#pragma once

// One region in pieces on several tiers (stripes), so that it can be larger than any and is read from all at once.
//
//   region    | extent 0 | extent 1 | extent 2 | extent 3 | ... | the last one may be shorter
//   stripe 0  | extent 0 | extent 2 | ...        with 2 stripes: extent e is on stripe e % 2, there as extent e / 2
//   stripe 1  | extent 1 | extent 3 | ...
//
// A batch becomes one batch for each stripe that it touches, and completes when all of them have. The first of them
// that fails ends it: the others are cancelled. A read across the border of two extents is put together in a buffer.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

inline constexpr std::uint64_t kStripeExtentBytes = 1U << 20U;

/// How much of a region of `region_bytes` is on stripe `stripe` of `stripes`.
std::uint64_t stripe_bytes(std::uint64_t region_bytes, std::uint32_t stripes, std::uint32_t stripe) noexcept;

class StripedTier final : public Tier {
 public:
  /// A stripe that holds nothing, because the region has fewer extents than there are stripes, is null. Throws
  /// Error(kInvalidArgument) for less than 2 stripes, and for stripes whose sizes are not those of one region.
  StripedTier(std::string url, std::vector<std::shared_ptr<Tier>> stripes);

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return size_bytes_; }
  /// The profile of all stripes together.
  [[nodiscard]] DeviceProfile profile() const override;
  [[nodiscard]] bool verified_at_open() const noexcept override;
  [[nodiscard]] std::vector<TierCounter> counters() const override { return sum_of_counters(stripes_); }

 private:
  /// Throws Error(kInvalidArgument) for reads longer than an extent.
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  std::string url_;
  std::vector<std::shared_ptr<Tier>> stripes_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace tiervec::rdma

#pragma once

#include <memory>
#include <string>
#include <utility>

#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

/// `numa:<node>`: memory of this process on one NUMA node, loaded from the index. CXL memory appears as a node without
/// CPUs. The profile's note tells the node's distance, and how many pages did not land there.
class NumaTier final : public Tier {
 public:
  NumaTier(std::string url, unsigned node, MemoryRegion region);
  /// Throws Error beside what loading the file throws: kNotFound for a node that does not exist (it names those that
  /// do), kResourceExhausted when the node has too little memory, kUnsupported on a kernel without NUMA.
  static std::shared_ptr<Tier> open(const TierUrl& url, const std::string& region_path);

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region_.size_bytes(); }
  [[nodiscard]] std::span<const std::byte> loaded_bytes() const noexcept override { return region_.bytes(); }
  [[nodiscard]] DeviceProfile profile() const override { return profile_; }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  std::string url_;
  MemoryRegion region_;
  DeviceProfile profile_;
};

/// The number after `numa:`. Throws kInvalidArgument when there is none.
unsigned parse_numa_node(const TierUrl& url);

inline constexpr TierScheme kNumaScheme{"numa", "numa:<node>",
                                        "memory of one NUMA node, such as CXL memory, loaded from the index",
                                        [](const TierUrl& url) { (void)parse_numa_node(url); }, NumaTier::open};

}  // namespace tiervec::rdma

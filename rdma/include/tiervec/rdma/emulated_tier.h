#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/memory_region.h>
#include <tiervec/rdma/tier.h>
#include <tiervec/rdma/tier_registry.h>

namespace tiervec::rdma {

/// A published device.
struct PublishedProfile {
  std::string_view name;
  std::string_view summary;
  DeviceProfile (*profile)();
};

/// The devices that `emulated:<name>` knows: arXiv 2405.03267, Table 1 and Figure 6.
std::span<const PublishedProfile> published_profiles();

/// The profile that stands after `emulated:`, a published name or `latency_us=5,reads_mps=20,gbps=10,block=64`
/// (microseconds, million reads/s, 10^9 bytes/s, bytes). Throws kInvalidArgument naming what is wrong.
DeviceProfile parse_emulated_profile(const TierUrl& url);

/// The device's one server, shared by all queues of a tier: work is done in the order in which it is reserved.
class DeviceServer {
 public:
  /// Takes `ticks` of the device's time, from `now` or from when it is free; returns when that work starts.
  Ticks reserve(Ticks now, Ticks ticks) noexcept;

 private:
  std::atomic<Ticks> free_at_{0};
};

/// `emulated:<profile>`: memory of this process behind a model of a device, in real time.
///
/// A read occupies the device for service_ns(whole blocks it touches); the device serves one read after the other, in
/// the order of the flushes; what it has served arrives latency_us later. Not modelled: jitter, loss, the depth of the
/// device's queues, and the CPU time of a driver.
class EmulatedTier final : public Tier {
 public:
  EmulatedTier(std::string url, DeviceProfile profile, MemoryRegion region, TimeSource time = {});
  static std::shared_ptr<Tier> open(const TierUrl& url, const std::string& region_path);

  [[nodiscard]] std::string url() const override { return url_; }
  [[nodiscard]] std::uint64_t size_bytes() const noexcept override { return region_.size_bytes(); }
  [[nodiscard]] std::span<const std::byte> loaded_bytes() const noexcept override { return region_.bytes(); }
  [[nodiscard]] DeviceProfile profile() const override { return profile_; }

 private:
  [[nodiscard]] std::unique_ptr<TierQueue> make_queue(const QueueLimits& limits) override;

  std::string url_;
  DeviceProfile profile_;
  MemoryRegion region_;
  DeviceServer server_;
  TimeSource time_;
};

inline constexpr TierScheme kEmulatedScheme{
    "emulated", "emulated:<profile>", "memory behind a model of a device, in real time",
    [](const TierUrl& url) { (void)parse_emulated_profile(url); }, EmulatedTier::open};

}  // namespace tiervec::rdma

#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include <tiervec/core/tick_clock.h>
#include <tiervec/rdma/device_profile.h>
#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// A profile in ticks, with the service times of small reads at hand.
class ServiceTimes {
 public:
  explicit ServiceTimes(const DeviceProfile& profile)
      : profile_(profile),
        block_shift_(static_cast<std::uint32_t>(std::countr_zero(profile.block_bytes))),
        ticks_per_ns_(TickClock::ticks_per_ns()) {
    for (std::uint32_t blocks = 0; blocks < of_blocks_.size(); ++blocks) {
      of_blocks_[blocks] = of_bytes(static_cast<double>(blocks) * profile.block_bytes);
    }
    smallest_ = of_bytes(1);
    latency_ = profile.latency_us * 1e3 * ticks_per_ns_;
  }

  /// Ticks a read occupies the device: it moves every block it touches, or a part of one.
  [[nodiscard]] double of(Read read) const noexcept {
    const std::uint64_t blocks = ((read.offset + read.length - 1) >> block_shift_) - (read.offset >> block_shift_) + 1;
    if (blocks == 1 && read.length < profile_.block_bytes) {
      return of_bytes(read.length);
    }
    return blocks < of_blocks_.size() ? of_blocks_[blocks] : of_bytes(static_cast<double>(blocks << block_shift_));
  }
  [[nodiscard]] double of(const ReadBatch& batch) const noexcept {
    double ticks = 0;
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      ticks += of(batch.reads[i]);
    }
    return ticks;
  }

  /// From the start of work to its arrival: a single small read takes exactly the profile's latency.
  [[nodiscard]] double until_arrival(double work) const noexcept {
    return latency_ + (work > smallest_ ? work - smallest_ : 0);
  }

 private:
  [[nodiscard]] double of_bytes(double bytes) const noexcept { return service_ns(profile_, bytes) * ticks_per_ns_; }

  DeviceProfile profile_;
  std::uint32_t block_shift_;
  double ticks_per_ns_;
  double smallest_ = 0;
  double latency_ = 0;
  std::array<double, 33> of_blocks_{};
};

}  // namespace tiervec::rdma

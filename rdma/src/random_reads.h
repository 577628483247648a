#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma {

/// Uniform random reads of one size, aligned to their size up to a page, so that none costs a block more than it must.
class RandomReads {
 public:
  RandomReads(const Tier& tier, std::uint32_t read_bytes, std::uint64_t seed)
      : read_bytes_(read_bytes),
        alignment_(std::clamp(read_bytes, std::uint32_t{64}, std::uint32_t{4096})),
        state_(seed) {
    if (read_bytes == 0 || read_bytes > tier.size_bytes()) {
      throw Error(ErrorCode::kInvalidArgument, "a measurement with reads of " + std::to_string(read_bytes) +
                                                   " bytes needs a region of at least as many and one byte, got " +
                                                   std::to_string(tier.size_bytes()));
    }
    places_ = std::min((tier.size_bytes() - read_bytes) / alignment_ + 1, std::uint64_t{1} << 32U);
  }

  [[nodiscard]] Read next() noexcept {
    // SplitMix64, then a multiplication instead of a division to get into range.
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
    mixed ^= mixed >> 31U;
    // 32 bits of place suffice: regions are measured up to 2^32 places of 64 bytes.
    const std::uint64_t place = ((mixed >> 32U) * places_) >> 32U;
    return {place * alignment_, read_bytes_};
  }

 private:
  std::uint32_t read_bytes_;
  std::uint32_t alignment_;
  std::uint64_t state_;
  std::uint64_t places_ = 1;
};

}  // namespace tiervec::rdma

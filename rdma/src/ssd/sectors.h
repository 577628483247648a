#pragma once

#include <cstdint>

#include <tiervec/rdma/tier.h>

namespace tiervec::rdma::ssd {

/// The unit of the device and of O_DIRECT: places, lengths and memory are multiples of it.
inline constexpr std::uint32_t kSectorBytes = 4096;

/// The sectors that a read lies in.
///
///   | sector     | sector     | sector     |
///        |<---- length ---->|
///   |skip|                          bytes: those of all three
struct SectorRange {
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  std::uint32_t skip = 0;
};

/// `read` must lie within a region whose size fits 63 bits.
[[nodiscard]] constexpr SectorRange covering(Read read) noexcept {
  const auto skip = static_cast<std::uint32_t>(read.offset % kSectorBytes);
  const std::uint64_t bytes =
      (std::uint64_t{skip} + read.length + kSectorBytes - 1) / kSectorBytes * std::uint64_t{kSectorBytes};
  return {read.offset - skip, static_cast<std::uint32_t>(bytes), skip};
}

/// Room for any read of up to so many bytes, wherever it starts.
[[nodiscard]] constexpr std::uint64_t most_covering(std::uint32_t length) noexcept {
  return (std::uint64_t{length} + kSectorBytes - 2) / kSectorBytes * kSectorBytes + kSectorBytes;
}

}  // namespace tiervec::rdma::ssd

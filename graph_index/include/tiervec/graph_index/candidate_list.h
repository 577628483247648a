#pragma once

// The best candidates of a best-first search, nearest first, as two parallel arrays so that an insertion is a few
// vector compares and shifted stores.

#include <cstddef>
#include <cstdint>
#include <limits>

#include <tiervec/core/simd.h>

namespace tiervec::graph_index {

/// Borrowed storage; see CandidateStorage for who owns it. Entries are id * 2 + (1 when expanded), so ids have 31 bits.
struct CandidateList {
  /// Unused positions up to the capacity rounded up to 16 hold +inf, and one more block of 16 is writable.
  float* distances = nullptr;
  std::uint32_t* entries = nullptr;
  std::uint32_t capacity = 0;
  std::uint32_t size = 0;
  float limit = std::numeric_limits<float>::infinity();  // what is farther will never be expanded

  /// What is not nearer than this is not inserted.
  [[nodiscard]] float bound() const noexcept {
    const float worst = distances[capacity - 1];
    return worst < limit ? worst : limit;
  }
  [[nodiscard]] std::uint32_t id(std::uint32_t i) const noexcept { return entries[i] >> 1; }
  [[nodiscard]] bool expanded(std::uint32_t i) const noexcept { return (entries[i] & 1) != 0; }
  void mark_expanded(std::uint32_t i) noexcept { entries[i] |= 1; }

  static constexpr std::uint32_t padded(std::uint32_t capacity) noexcept { return (capacity + 15) / 16 * 16 + 16; }

  void reset(std::uint32_t new_capacity) noexcept {
    capacity = new_capacity;
    size = 0;
    limit = std::numeric_limits<float>::infinity();
    for (std::uint32_t i = 0; i < padded(capacity); ++i) distances[i] = std::numeric_limits<float>::infinity();
  }
};

/// What a hop does besides distances.
struct HopKernels {
  /// Inserts what is nearer than the bound; an id that is already listed is left alone (its distance is the
  /// same). Returns the lowest position that changed, or the capacity.
  std::uint32_t (*insert)(CandidateList& list, const float* distances, const std::uint32_t* ids,
                          std::uint32_t count) noexcept;
  /// Reads `count` integers of `width` bits, lowest bit first. Reads up to 32 bytes past the last one; `out` has room
  /// for `count` rounded up to 16.
  void (*unpack)(const std::byte* bits, std::uint32_t count, std::uint32_t width, std::uint32_t* out) noexcept;
};

const HopKernels& hop_kernels(SimdLevel level = simd_level()) noexcept;

extern const HopKernels kHopKernelsPortable;
extern const HopKernels kHopKernelsAvx512;

}  // namespace tiervec::graph_index

#pragma once

// Moves chosen lanes to the front, which AVX2 has no instruction for. Included by files for AVX2 only.

#include <immintrin.h>

#include <array>
#include <cstdint>

namespace tiervec::codes {
namespace {

/// For each mask of eight lanes the lanes that it chooses, a byte each, in their order.
struct ChosenLanes {
  std::array<std::uint64_t, 256> of_mask{};

  constexpr ChosenLanes() noexcept {
    for (std::uint32_t mask = 0; mask < 256; ++mask) {
      std::uint32_t count = 0;
      for (std::uint64_t lane = 0; lane < 8; ++lane) {
        if ((mask >> lane & 1) != 0) of_mask[mask] |= lane << (8 * count++);
      }
    }
  }
};
constexpr ChosenLanes kChosenLanes;

[[gnu::always_inline]] inline __m256i lanes_of(std::uint32_t mask) noexcept {
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(kChosenLanes.of_mask[mask])));
}

}  // namespace
}  // namespace tiervec::codes

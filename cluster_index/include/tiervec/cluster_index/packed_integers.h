#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tiervec::cluster_index {

/// Integers of `width` bits each, lowest bit first, followed by kOverread bytes. Borrowed.
struct PackedIntegers {
  static constexpr std::uint32_t kMostBits = 56;   // with seven bits before it, one still fits a word
  static constexpr std::uint32_t kWholeBits = 64;  // begins at a byte, so it is a word
  static constexpr std::uint32_t kOverread = 8;

  const std::byte* bits = nullptr;
  std::uint32_t width = 0;
  std::uint64_t count = 0;

  [[nodiscard]] std::uint64_t operator[](std::uint64_t i) const noexcept {
    const std::uint64_t from = i * width;
    std::uint64_t window;
    std::memcpy(&window, bits + from / 8, sizeof window);
    return (window >> (from % 8)) & (~std::uint64_t{0} >> (64 - width));
  }
  // Always inlined: g++ takes a function that only prefetches for one without effects and drops the calls.
  [[gnu::always_inline]] void prefetch(std::uint64_t i) const noexcept { __builtin_prefetch(bits + i * width / 8); }

  /// Widths that one load reads.
  [[nodiscard]] static bool readable(std::uint32_t width) noexcept {
    return (width >= 1 && width <= kMostBits) || width == kWholeBits;
  }

  [[nodiscard]] static std::uint64_t bytes(std::uint64_t count, std::uint32_t width) noexcept {
    return (count * width + 7) / 8 + kOverread;
  }
};

}  // namespace tiervec::cluster_index

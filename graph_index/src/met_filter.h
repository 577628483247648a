#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tiervec::graph_index {

/// Remembers most of the vertices that a query has met, in a table that stays in the first cache levels. Direct mapped:
/// a newer vertex may push an older one out, which is then scored once more; the candidate list keeps ids unique. It
/// never takes a new vertex for a met one while ids have at most index bits + 16 bits (2^28 vertices or more); beyond
/// that, one in about 2^16 of the collisions is skipped.
class MetFilter {
 public:
  /// Sized for a search that meets about `expected` vertices.
  void reserve(std::size_t expected) {
    std::uint32_t bits = kMinBits;
    while (bits < kMaxBits && (std::size_t{1} << bits) < expected) ++bits;
    index_bits_ = bits;
    if (tags_.size() < std::size_t{1} << bits) tags_.resize(std::size_t{1} << bits);
  }
  void clear() noexcept { std::fill_n(tags_.begin(), std::size_t{1} << index_bits_, kFree); }

  /// True when the vertex was not remembered. Without branches: whether it was met is close to a coin toss.
  bool add(std::uint32_t vertex) noexcept {
    const std::uint32_t hash = vertex * 0x9e3779b1U;  // odd, so a bijection: index and tag together identify the vertex
    const std::uint32_t index = hash >> (32 - index_bits_);
    const auto tag = static_cast<std::uint16_t>(hash >> (16 - index_bits_));
    const bool fresh = tags_[index] != tag;
    tags_[index] = tag;
    return fresh;
  }

 private:
  static constexpr std::uint32_t kMinBits = 12;
  static constexpr std::uint32_t kMaxBits = 16;
  static constexpr std::uint16_t kFree = 0xffff;

  std::uint32_t index_bits_ = kMinBits;
  std::vector<std::uint16_t> tags_;
};

}  // namespace tiervec::graph_index

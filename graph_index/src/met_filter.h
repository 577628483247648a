#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tiervec::graph_index {

/// Remembers most of the vertices that a query has met, in a table that stays in the first cache levels. Direct mapped:
/// a newer vertex may push an older one out, which is then scored once more; the candidate list keeps ids unique. It
/// never takes a new vertex for a met one while ids are below 2^(index bits + 15), that is 2^27 or more; beyond that,
/// two vertices in 2^(index bits + 15) look alike.
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
    // Odd, so a bijection of the low bits: index and tag together identify the vertex.
    const std::uint32_t hash = vertex * 0x9e3779b1U;
    const std::uint32_t index = (hash >> kTagBits) & ((1U << index_bits_) - 1);
    const auto tag = static_cast<std::uint16_t>((hash & ((1U << kTagBits) - 1)) | kTaken);
    const bool fresh = tags_[index] != tag;
    tags_[index] = tag;
    return fresh;
  }

 private:
  static constexpr std::uint32_t kMinBits = 12;
  static constexpr std::uint32_t kMaxBits = 16;
  static constexpr std::uint32_t kTagBits = 15;
  static constexpr std::uint16_t kTaken = 1U << kTagBits;
  static constexpr std::uint16_t kFree = 0;

  std::uint32_t index_bits_ = kMinBits;
  std::vector<std::uint16_t> tags_;
};

}  // namespace tiervec::graph_index

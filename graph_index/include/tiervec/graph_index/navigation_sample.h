#pragma once

// A small graph over a random sample of the vertices, kept in fast memory. A search descends it by codes alone and so
// enters the big graph near its goal instead of paying reads for the way there.

#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/graph_index/vamana.h>

namespace tiervec::graph_index {

struct NavigationSample {
  static constexpr std::uint32_t kDegree = 16;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  std::vector<std::uint32_t> ids;        // sampled vertices; the first is where a descent starts
  std::vector<std::uint32_t> adjacency;  // ids.size() x kDegree positions in `ids`, padded with kNone

  [[nodiscard]] std::size_t bytes() const noexcept { return (ids.size() + adjacency.size()) * sizeof(std::uint32_t); }
};

/// Samples `size` vertices (at least one), none of those in `without`, and links them. Deterministic for a seed and one
/// thread.
NavigationSample build_navigation_sample(const VectorSpace& space, std::uint32_t size,
                                         std::span<const std::uint32_t> without, std::uint64_t seed, unsigned threads,
                                         WorkMonitor* monitor);

/// Throws Error(kDataLoss) when an entry points outside.
void check_navigation_sample(const NavigationSample& sample, std::uint32_t count);

}  // namespace tiervec::graph_index

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace tiervec::cluster_index {

/// Nearest centroids of `rows` vectors, `width` of each, nearest first; missing ids are -1 and last.
struct ClosureCandidates {
  const std::int64_t* ids = nullptr;
  const float* distances = nullptr;  // squared
  std::size_t rows = 0;
  std::size_t width = 0;
};

inline constexpr std::uint32_t kNoCluster = ~std::uint32_t{0};

/// When a further cluster lists a vector; both are factors of squared distances.
struct ClosureRule {
  float most_distance = 1;  // of that to the vector's nearest cluster
  float rng = 1;            // of that to each cluster chosen before
};

/// Chooses the clusters that list each vector (SPANN, NeurIPS'21): candidates near enough for the rule. Writes
/// `replicas` ids a row, padded with kNoCluster. `centroids` are `dim` floats each.
void choose_closure(std::span<const float> centroids, std::size_t dim, const ClosureCandidates& candidates,
                    ClosureRule rule, std::size_t replicas, std::uint32_t* lists, unsigned threads);

/// Inverts lists of `replicas` clusters a row: rows of each cluster, ascending, at offsets that start at `next` and
/// move behind the last one. Throws Error(kInvalidArgument) when an entry names no cluster or `rows` is too small.
void list_members(const std::uint32_t* lists, std::size_t count, std::size_t replicas, std::span<std::int64_t> next,
                  std::span<std::uint32_t> rows);

}  // namespace tiervec::cluster_index

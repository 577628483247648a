#include <tiervec/cluster_index/closure.h>

#include <string>

#include <tiervec/core/parallel.h>
#include <tiervec/core/status.h>
#include <tiervec/core/vector_kernels.h>

namespace tiervec::cluster_index {
namespace {

constexpr std::size_t kBlock = 256;  // rows a thread takes at a time

}  // namespace

void choose_closure(std::span<const float> centroids, std::size_t dim, const ClosureCandidates& candidates,
                    ClosureRule rule, std::size_t replicas, std::uint32_t* lists, unsigned threads) {
  const VectorKernels& kernels = vector_kernels(Dtype::kFloat32);
  const auto count = static_cast<std::int64_t>(centroids.size() / dim);
  const auto choose = [&](std::size_t row) {
    const std::int64_t* ids = candidates.ids + row * candidates.width;
    const float* distances = candidates.distances + row * candidates.width;
    std::uint32_t* chosen = lists + row * replicas;
    std::size_t found = 0;
    for (std::size_t i = 0; i < candidates.width && found < replicas; ++i) {
      if (ids[i] < 0 || distances[i] > rule.most_distance * distances[0]) break;
      if (ids[i] >= count) throw Error(ErrorCode::kInvalidArgument, "centroid " + std::to_string(ids[i]) + " is none");
      const float* centroid = centroids.data() + static_cast<std::size_t>(ids[i]) * dim;
      bool distinct = true;
      for (std::size_t j = 0; j < found && distinct; ++j) {
        const float between = kernels.pair_l2(centroid, centroids.data() + std::size_t{chosen[j]} * dim, dim);
        distinct = rule.rng * between > distances[i];
      }
      if (distinct) chosen[found++] = static_cast<std::uint32_t>(ids[i]);
    }
    for (; found < replicas; ++found) chosen[found] = kNoCluster;
  };
  parallel_blocks(candidates.rows, kBlock, threads, nullptr, [&](std::size_t begin, std::size_t end, unsigned) {
    for (std::size_t row = begin; row < end; ++row) choose(row);
  });
}

void list_members(const std::uint32_t* lists, std::size_t count, std::size_t replicas, std::span<std::int64_t> next,
                  std::span<std::uint32_t> rows) {
  for (std::size_t row = 0; row < count; ++row) {
    for (std::size_t i = 0; i < replicas; ++i) {
      const std::uint32_t cluster = lists[row * replicas + i];
      if (cluster == kNoCluster) continue;
      if (cluster >= next.size() || next[cluster] < 0 || static_cast<std::size_t>(next[cluster]) >= rows.size()) {
        throw Error(ErrorCode::kInvalidArgument, "row " + std::to_string(row) + " is listed by cluster " +
                                                     std::to_string(cluster) + ", which has no room for it");
      }
      rows[static_cast<std::size_t>(next[cluster]++)] = static_cast<std::uint32_t>(row);
    }
  }
}

}  // namespace tiervec::cluster_index

#pragma once

// Finding the clusters whose centroids are nearest to a query, by codes alone and in two steps: the codes of all group
// centroids are scanned, then those of the centroids in the nearest groups. Scanning a code costs about a nanosecond,
// so up to some hundred thousand clusters this is faster than walking a graph of them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <tiervec/core/codes/code.h>
#include <tiervec/core/helper_thread.h>
#include <tiervec/core/huge_buffer.h>

namespace tiervec::cluster_index {

/// A helper thread and the room that it needs for what it finds; none: everything runs in the caller.
struct ScanHelp {
  HelperThread* thread = nullptr;
  codes::ScanHits* hits = nullptr;
};

class ClusterNavigation {
 public:
  ClusterNavigation() = default;
  /// `group_rows` and `centroid_rows` are rows of `code`; group g holds the clusters group_offsets[g] to
  /// group_offsets[g + 1]. Throws Error(kDataLoss) when the offsets do not cover the clusters.
  ClusterNavigation(std::shared_ptr<const codes::Code> code, const std::uint8_t* group_rows,
                    std::vector<std::uint32_t> group_offsets, const std::uint8_t* centroid_rows,
                    std::uint32_t clusters);

  [[nodiscard]] const codes::Code& code() const noexcept { return *code_; }
  [[nodiscard]] std::uint32_t clusters() const noexcept { return clusters_; }
  [[nodiscard]] std::uint32_t groups() const noexcept { return static_cast<std::uint32_t>(group_offsets_.size()) - 1; }
  [[nodiscard]] std::size_t bytes() const noexcept;

  /// Hits that nearest_groups() and nearest_clusters() need room for.
  [[nodiscard]] std::uint32_t room(std::uint32_t nprobe) const noexcept;
  // Both steps return how many codes they looked at. Hits have room().

  /// Puts the nearest groups into `groups`: those whose clusters have to be looked at to find `nprobe` clusters, and
  /// `care` times as many.
  std::uint32_t nearest_groups(const std::byte* state, std::uint32_t nprobe, double care,
                               codes::ScanHits& groups) const noexcept;
  /// Puts the nearest clusters in these groups, nprobe of them or all, into `clusters`, in no order.
  std::uint32_t nearest_clusters(const std::byte* state, std::uint32_t nprobe, const codes::ScanHits& groups,
                                 codes::ScanHits& clusters, const ScanHelp& help = {}) const noexcept;

 private:
  std::shared_ptr<const codes::Code> code_;
  std::vector<std::uint32_t> group_offsets_;
  std::uint32_t clusters_ = 0;
  HugeBuffer group_blocks_;
  HugeBuffer centroid_blocks_;
};

}  // namespace tiervec::cluster_index

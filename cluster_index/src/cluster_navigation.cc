#include <tiervec/cluster_index/cluster_navigation.h>

#include <algorithm>
#include <limits>
#include <string>

#include <tiervec/cluster_index/code_blocks.h>
#include <tiervec/core/codes/nearest_hits.h>
#include <tiervec/core/status.h>

#include "block_scan.h"

namespace tiervec::cluster_index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kScannedPerProbe = 10;  // centroids looked at for each cluster that is wanted
// Nor fewer groups than this for each: the nearest clusters lie in about as many groups, however small a share of all
// that is.
constexpr double kGroupsPerProbe = 0.32;
constexpr std::uint32_t kFewestGroups = 8;
constexpr std::uint32_t kHeldPerKept = 3;  // hits that gather before they are cut back to the best

}  // namespace

ClusterNavigation::ClusterNavigation(std::shared_ptr<const codes::Code> code, const std::uint8_t* group_rows,
                                     std::vector<std::uint32_t> group_offsets, const std::uint8_t* centroid_rows,
                                     std::uint32_t clusters)
    : code_(std::move(code)), group_offsets_(std::move(group_offsets)), clusters_(clusters) {
  if (clusters == 0 || group_offsets_.size() < 2 || group_offsets_.front() != 0 || group_offsets_.back() != clusters ||
      !std::is_sorted(group_offsets_.begin(), group_offsets_.end())) {
    throw Error(ErrorCode::kDataLoss,
                "group_offsets do not divide the " + std::to_string(clusters) + " clusters of the index");
  }
  group_blocks_ = arrange_blocks(*code_, group_rows, groups());
  centroid_blocks_ = arrange_blocks(*code_, centroid_rows, clusters);
}

std::size_t ClusterNavigation::bytes() const noexcept {
  return code_blocks_bytes(*code_, groups()) + code_blocks_bytes(*code_, clusters_) + code_->parameter_bytes() +
         group_offsets_.size() * sizeof(std::uint32_t);
}

std::uint32_t ClusterNavigation::room(std::uint32_t nprobe) const noexcept {
  const std::uint32_t held = std::max(groups(), kHeldPerKept * std::min(nprobe, clusters_));
  return static_cast<std::uint32_t>(BlockScan::room(held));
}

std::uint32_t ClusterNavigation::nearest_groups(const std::byte* state, std::uint32_t nprobe, double care,
                                                codes::ScanHits& found) const noexcept {
  found.count = 0;
  found.bound = kInfinity;
  BlockScan scan(*code_, state, group_blocks_.as<std::uint8_t>(), found, groups(), groups());
  scan.add(0, groups(), code_->center_distance(state));
  scan.finish();
  const double per_probe = care * std::max(kScannedPerProbe * groups() / clusters_, kGroupsPerProbe);
  const auto wanted = static_cast<std::uint32_t>(
      std::clamp<double>(std::min(nprobe, clusters_) * per_probe, std::min(kFewestGroups, groups()), groups()));
  codes::keep_nearest(found, wanted, wanted);
  return groups();
}

std::uint32_t ClusterNavigation::nearest_clusters(const std::byte* state, std::uint32_t nprobe,
                                                  const codes::ScanHits& groups, codes::ScanHits& clusters,
                                                  const ScanHelp& help) const noexcept {
  nprobe = std::min(nprobe, clusters_);
  const float center_distance = code_->center_distance(state);
  // Every `step`th of the groups; the nearest clusters in them into `found`.
  const auto scan_groups = [&](std::uint32_t first, std::uint32_t step, codes::ScanHits& found) noexcept {
    found.count = 0;
    found.bound = kInfinity;
    std::uint32_t scanned = 0;
    BlockScan scan(*code_, state, centroid_blocks_.as<std::uint8_t>(), found, nprobe, kHeldPerKept * nprobe);
    for (std::uint32_t i = first; i < groups.count; i += step) {
      const std::uint32_t group = groups.rows[i];
      scan.add(group_offsets_[group], group_offsets_[group + 1], center_distance);
      scanned += group_offsets_[group + 1] - group_offsets_[group];
    }
    scan.finish();
    codes::keep_nearest(found, nprobe, nprobe);
    return scanned;
  };
  if (help.thread == nullptr) return scan_groups(0, 1, clusters);
  std::uint32_t scanned = 0;
  std::uint32_t scanned_there = 0;
  help.thread->run_both([&]() noexcept { scanned = scan_groups(0, 2, clusters); },
                        [&]() noexcept { scanned_there = scan_groups(1, 2, *help.hits); });
  codes::append(clusters, *help.hits);
  codes::keep_nearest(clusters, nprobe, nprobe);
  return scanned + scanned_there;
}

}  // namespace tiervec::cluster_index

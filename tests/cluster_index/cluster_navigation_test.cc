#include <tiervec/cluster_index/cluster_navigation.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include <gtest/gtest.h>

#include "cluster_index/small_clusters.h"

namespace tiervec::cluster_index {
namespace {

using testing::dram;
using testing::Found;
using testing::of;
using testing::search;
using testing::SmallClusters;
using testing::SmallClustersOptions;
using testing::some_queries;
using testing::with;

/// The nearest clusters of one query.
struct Nearest {
  Nearest(const ClusterNavigation& navigation, const float* query, std::uint32_t nprobe, double care)
      : distances_(2 * std::size_t{navigation.room(nprobe)}), rows_(distances_.size()) {
    HugeBuffer state(navigation.code().query_bytes());
    navigation.code().make_query(query, state.as<std::byte>());
    const std::size_t room = navigation.room(nprobe);
    codes::ScanHits groups{.distances = distances_.data(), .rows = rows_.data()};
    codes::ScanHits found{.distances = distances_.data() + room, .rows = rows_.data() + room};
    scanned = navigation.nearest_groups(state.as<std::byte>(), nprobe, care, groups);
    scanned += navigation.nearest_clusters(state.as<std::byte>(), nprobe, groups, found);
    clusters.assign(found.rows, found.rows + found.count);
    std::sort(clusters.begin(), clusters.end());
  }

  std::uint32_t scanned = 0;
  std::vector<std::uint32_t> clusters;

 private:
  std::vector<float> distances_;
  std::vector<std::uint32_t> rows_;
};

TEST(ClusterNavigation, RefusesGroupsThatDoNotCoverTheClusters) {
  const SmallClusters index(of(Layout::kCoded));
  for (const auto& offsets : {std::vector<std::uint32_t>{0}, {0, 22}, {1, 23}, {0, 30, 23}}) {
    EXPECT_THROW(ClusterNavigation(index.centroid_code, index.group_rows.data(), offsets, index.centroid_rows.data(),
                                   index.options.clusters),
                 Error);
  }
}

TEST(ClusterNavigation, FindsEveryClusterOnceWhenAllAreWanted) {
  const SmallClusters index(of(Layout::kCoded));
  ClusterSearcher searcher(dram(index), index.part());
  ClusterSearchRequest request = with(1, 1'000'000);
  const Found found = search(searcher, some_queries(index, 3), request);
  // Groups, centroids and then every vector.
  for (const auto& cost : found.costs) EXPECT_EQ(cost.code_distances, 5U + 23U + 700U);
}

TEST(ClusterNavigation, MoreCareLooksAtMoreCentroidsAndFindsMoreOfTheNearest) {
  SmallClustersOptions options;
  options.count = 8000;
  options.clusters = 1000;
  options.groups = 125;
  const SmallClusters index(options);
  const ClusterFastPart part = index.part();
  const ClusterNavigation& navigation = part.navigation;
  constexpr std::uint32_t kProbe = 40;
  std::size_t found[2] = {};
  std::uint64_t scanned[2] = {};
  for (std::uint32_t i = 0; i < 40; ++i) {
    const float* query = index.floats.data() + std::size_t{i} * index.options.dim;
    const Nearest truth(navigation, query, kProbe, 1e9);
    EXPECT_EQ(truth.scanned, 1125U);
    for (const std::size_t care : {0U, 1U}) {
      const Nearest nearest(navigation, query, kProbe, care == 0 ? 1 : 2);
      EXPECT_EQ(nearest.clusters.size(), kProbe);
      scanned[care] += nearest.scanned;
      std::vector<std::uint32_t> common;
      std::set_intersection(nearest.clusters.begin(), nearest.clusters.end(), truth.clusters.begin(),
                            truth.clusters.end(), std::back_inserter(common));
      found[care] += common.size();
    }
  }
  EXPECT_GT(scanned[1], scanned[0] * 3 / 2);
  EXPECT_GT(found[1], found[0]);
  EXPECT_GT(found[1], 40 * kProbe * 9 / 10);
}

}  // namespace
}  // namespace tiervec::cluster_index

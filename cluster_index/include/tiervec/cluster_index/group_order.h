#pragma once

// The order of vectors on the tier in the grouped layout.
//
// A query reads the groups of the clusters that it probes, each in one run, and beside them the vectors that these
// clusters list and other groups hold. Those others lie in few runs when members of a group that are needed by the same
// queries lie side by side. For a sample of queries the number of runs in a group is, apart from its ends, half the sum
// of the differences between the query sets of neighbouring members: a shortest path through the members, with the
// groups before and behind as its ends.
//
// Groups side by side save a read of each query that probes both, and of each that probes one of them and finds what
// the other stores for it at the border. Near clusters are probed together; clusters that share vectors lie around
// them, farther from each other.

#include <cstdint>
#include <span>

#include <tiervec/core/parallel.h>

namespace tiervec::cluster_index {

struct GroupSample {
  std::span<const std::int64_t> posting_offsets;  // of each cluster's members, copies counted; clusters + 1
  std::span<const std::uint32_t> members;         // rows, by cluster
  std::span<const std::uint32_t> groups;          // of each row: the cluster whose group holds it
  std::span<const std::uint32_t> probes;          // of each sample query: `width` different clusters
  std::size_t width = 0;
};

/// Fills `chain` with all clusters, in the order in which their groups lie: those side by side that save most reads
/// (most saving pairs first, then 2-opt). Fills `order` with all rows, group by group, the members of each along a
/// short path (nearest neighbour, then 2-opt and moved segments). Deterministic for any number of threads. Groups of
/// more than kLongestPath members stay in the order of their rows. Throws Error(kInvalidArgument) when the parts do not
/// fit together.
void order_groups(const GroupSample& sample, std::span<std::uint32_t> chain, std::span<std::uint32_t> order,
                  unsigned threads, WorkMonitor* monitor);

inline constexpr std::size_t kLongestPath = 1024;

}  // namespace tiervec::cluster_index

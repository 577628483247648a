#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tiervec::rdma {

/// A node of this machine's memory. One without CPUs is memory that came alone: CXL memory, for example.
struct NumaNode {
  unsigned id = 0;
  std::string cpus;  // as the kernel writes them, "0-3,8"; empty: none
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;  // free, or used for files that can be read again
  std::vector<unsigned> distances;    // to each node in the order of numa_nodes(); 10 is local
};

/// The nodes that are online, ascending; empty when the kernel has no NUMA support.
std::vector<NumaNode> numa_nodes(const std::filesystem::path& sysfs = "/sys/devices/system/node");

/// The nearest node with CPUs and its distance to `node` (10: it has CPUs itself), or {node, 0} when that is not known.
struct NearestCpus {
  unsigned node = 0;
  unsigned distance = 0;
};
NearestCpus nearest_cpus(const std::vector<NumaNode>& nodes, unsigned node);

}  // namespace tiervec::rdma

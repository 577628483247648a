#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <tiervec/cluster_index/group_order.h>

namespace tiervec::cluster_index {

/// Values by key, as one array with offsets.
struct GroupedValues {
  std::vector<std::size_t> offsets;
  std::vector<std::uint64_t> values;

  [[nodiscard]] std::span<const std::uint64_t> of(std::size_t key) const {
    return {values.data() + offsets[key], offsets[key + 1] - offsets[key]};
  }
  /// Of counts in offsets[key + 1]: makes room for as many values of each key, and returns where those of each begin.
  std::vector<std::size_t> make_room() {
    for (std::size_t key = 1; key < offsets.size(); ++key) offsets[key] += offsets[key - 1];
    values.resize(offsets.back());
    return {offsets.begin(), offsets.end() - 1};
  }
};

/// By cluster: the sample queries that probe it, ascending.
inline GroupedValues collect_probes(const GroupSample& sample) {
  GroupedValues probes;
  probes.offsets.assign(sample.posting_offsets.size(), 0);
  for (const std::uint32_t cluster : sample.probes) ++probes.offsets[cluster + 1];
  std::vector<std::size_t> next = probes.make_room();
  for (std::size_t i = 0; i < sample.probes.size(); ++i) probes.values[next[sample.probes[i]]++] = i / sample.width;
  return probes;
}

/// The order of the groups: see group_order.h. Every cluster once.
std::vector<std::uint32_t> chain_of_groups(const GroupSample& sample, const GroupedValues& probes,
                                           const WorkMonitor* monitor);

}  // namespace tiervec::cluster_index

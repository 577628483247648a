#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tiervec/core/parallel.h>
#include <tiervec/graph_index/record_layout.h>
#include <tiervec/graph_index/record_locator.h>
#include <tiervec/graph_index/vamana.h>

namespace tiervec::graph_index {

struct WrittenRecords {
  RecordLayout layout;
  std::vector<LocatorGroup> locator;
  std::uint64_t bytes = 0;  // of the section
  std::uint64_t edges = 0;
};

/// Writes the records of all vertices to a new file at `path`, streamed. `labels` is empty (label = vertex) or has one
/// non-negative label per vertex. Throws Error(kResourceExhausted) when the disk is full; the caller removes the file.
WrittenRecords write_records(const Graph& graph, const VectorSpace& space, std::span<const std::int64_t> labels,
                             const std::string& path, WorkMonitor* monitor);

}  // namespace tiervec::graph_index

#include <tiervec/graph_index/record_writer.h>

#include <algorithm>
#include <cstring>

#include "output_file.h"

namespace tiervec::graph_index {
namespace {

std::uint32_t largest_degree(const Graph& graph) {
  std::uint32_t largest = 0;
  for (std::uint32_t v = 0; v < graph.count(); ++v) largest = std::max(largest, graph.degree(v));
  return largest;
}

}  // namespace

WrittenRecords write_records(const Graph& graph, const VectorSpace& space, std::span<const std::int64_t> labels,
                             const std::string& path, WorkMonitor* monitor) {
  const std::uint32_t count = graph.count();
  std::uint64_t largest_label = 0;
  for (std::int64_t label : labels) largest_label = std::max(largest_label, static_cast<std::uint64_t>(label));
  const std::uint32_t max_degree = largest_degree(graph);
  if (max_degree > RecordLayout::kMaxDegree) {
    throw Error(ErrorCode::kInvalidArgument,
                "a vertex has " + std::to_string(max_degree) + " neighbours; a record holds at most 255");
  }
  WrittenRecords written;
  // A single label of zero still needs a byte: no label means "equal to the vertex".
  written.layout = RecordLayout::fit(space.dim(), space.dtype(), count,
                                     labels.empty() ? 0 : std::max<std::uint64_t>(largest_label, 1), max_degree);
  written.locator.resize((count + LocatorGroup::kRecords - 1) / LocatorGroup::kRecords);
  OutputFile file(path);
  for (std::uint32_t v = 0; v < count; ++v) {
    if (v % 4096 == 0 && monitor != nullptr && monitor->cancelled.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::kCancelled, "stopped by request");
    }
    const std::uint32_t degree = graph.degree(v);
    const std::uint32_t units = written.layout.edge_units(degree);
    LocatorGroup& group = written.locator[v / LocatorGroup::kRecords];
    if (v % LocatorGroup::kRecords == 0) group.start = written.bytes;
    group.units[v % LocatorGroup::kRecords] = static_cast<std::uint8_t>(units);
    const std::uint32_t bytes = written.layout.record_bytes(units);
    const std::uint64_t label = labels.empty() ? v : static_cast<std::uint64_t>(labels[v]);
    written.layout.encode(v, space.vector(v), label, {graph.neighbors(v), degree}, file.append(bytes));
    written.bytes += bytes;
    written.edges += degree;
  }
  std::memset(file.append(RecordLayout::kOverread), 0, RecordLayout::kOverread);
  written.bytes += RecordLayout::kOverread;
  file.flush();
  return written;
}

}  // namespace tiervec::graph_index

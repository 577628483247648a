#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tiervec/core/parallel.h>
#include <tiervec/graph_index/record_layout.h>
#include <tiervec/graph_index/record_locator.h>
#include <tiervec/graph_index/vamana.h>

namespace tiervec::graph_index {

/// How records lie in their section; see record_layout.h.
enum class RecordForm { kPacked, kPlain, kSectors };

/// Throws Error(kInvalidArgument) for a name that is not `packed`, `plain` or `sectors`.
RecordForm parse_record_form(std::string_view name);

struct WrittenRecords {
  RecordLayout layout;
  std::vector<LocatorGroup> locator;  // empty for sectors
  std::uint64_t bytes = 0;            // of the section
  std::uint64_t edges = 0;
};

/// Where and how records are written.
struct RecordTarget {
  std::string path;  // of the new file
  RecordForm form = RecordForm::kPacked;
  std::uint64_t description = 0;  // hash of what the build is: parameters, seed, metric
};

/// Writes the records of all vertices to a new file, streamed. `labels` is empty (label = vertex) or has one
/// non-negative label per vertex. Throws Error(kResourceExhausted) when the disk is full; the caller removes the file.
///
/// The salt of the checks is a hash of target.description and of all vectors, labels and lists: the same build gives
/// the same bytes, and builds that differ in anything that a record means have different salts.
WrittenRecords write_records(const Graph& graph, const VectorSpace& space, std::span<const std::int64_t> labels,
                             const RecordTarget& target, WorkMonitor* monitor);

/// Records as they lie in a section of `count` vertices.
struct StoredRecords {
  RecordLayout layout;
  std::span<const LocatorGroup> locator;
  std::uint32_t count = 0;
  std::span<const std::byte> section;
};

/// Writes the same records in another form, as write_records would. Every record is checked. Throws Error(kDataLoss)
/// when one is not what was written, and what write_records throws.
WrittenRecords rewrite_records(const StoredRecords& records, const RecordTarget& target, WorkMonitor* monitor);

}  // namespace tiervec::graph_index

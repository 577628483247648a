#include <tiervec/cluster_index/cluster_record_writer.h>

#include <algorithm>

#include <tiervec/core/output_file.h>
#include <tiervec/core/status.h>

namespace tiervec::cluster_index {
namespace {

void check_rows(const VectorRows& rows, std::span<const std::uint32_t> wanted) {
  for (const std::uint32_t row : wanted) {
    if (row >= rows.count) {
      throw Error(ErrorCode::kInvalidArgument,
                  "row " + std::to_string(row) + " to write; there are " + std::to_string(rows.count) + " vectors");
    }
  }
}

void check_monitor(WorkMonitor* monitor, std::size_t done) {
  if (monitor == nullptr || done % 4096 != 0) return;
  if (monitor->cancelled.load(std::memory_order_relaxed)) {
    throw Error(ErrorCode::kCancelled, "stopped by request");
  }
  monitor->done.store(done, std::memory_order_relaxed);
}

}  // namespace

void write_cluster_vectors(const std::string& path, const VectorRows& rows, std::span<const std::uint32_t> order,
                           WorkMonitor* monitor) {
  check_rows(rows, order);
  if (monitor != nullptr) monitor->total = order.size();
  const ClusterRecord record{.vector_bytes = rows.vector_bytes, .has_position = false, .salt = rows.salt};
  OutputFile file(path);
  for (std::size_t position = 0; position < order.size(); ++position) {
    check_monitor(monitor, position);
    const auto place = static_cast<std::uint32_t>(position);
    record.encode(place, place, rows.data + std::size_t{order[position]} * rows.vector_bytes,
                  file.append(record.bytes()));
  }
  file.append_zeros(ClusterRecord::kOverread);
  file.flush();
  if (monitor != nullptr) monitor->done = order.size();
}

std::vector<std::uint64_t> write_cluster_postings(const std::string& path, const VectorRows& rows,
                                                  const Postings& postings, WorkMonitor* monitor) {
  check_rows(rows, postings.members);
  const auto& offsets = postings.offsets;
  if (offsets.empty() || offsets.front() != 0 || offsets.back() != postings.members.size() ||
      !std::is_sorted(offsets.begin(), offsets.end()) || postings.positions.size() != rows.count ||
      postings.align == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "postings to write: offsets must ascend from 0 to the members, with a position for each row");
  }
  if (monitor != nullptr) monitor->total = postings.members.size();
  const ClusterRecord record{.vector_bytes = rows.vector_bytes, .has_position = true, .salt = rows.salt};
  OutputFile file(path);
  std::vector<std::uint64_t> starts;
  starts.reserve(offsets.size());
  std::uint64_t written = 0;
  for (std::size_t posting = 0; posting + 1 < offsets.size(); ++posting) {
    const std::uint64_t gap = (postings.align - written % postings.align) % postings.align;
    file.append_zeros(gap);
    written += gap;
    starts.push_back(written);
    for (std::uint64_t i = offsets[posting]; i < offsets[posting + 1]; ++i) {
      check_monitor(monitor, i);
      const std::uint32_t row = postings.members[i];
      record.encode(ClusterRecord::place_at(written), postings.positions[row],
                    rows.data + std::size_t{row} * rows.vector_bytes, file.append(record.bytes()));
      written += record.bytes();
    }
  }
  starts.push_back(written);
  file.append_zeros(ClusterRecord::kOverread);
  file.flush();
  if (monitor != nullptr) monitor->done = postings.members.size();
  return starts;
}

}  // namespace tiervec::cluster_index

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tiervec/cluster_index/cluster_record.h>
#include <tiervec/core/parallel.h>

namespace tiervec::cluster_index {

/// Vectors in rows; borrowed.
struct VectorRows {
  const std::byte* data = nullptr;
  std::uint32_t count = 0;
  std::uint32_t vector_bytes = 0;
  std::uint64_t salt = 0;  // of the build; see ClusterRecord
};

// Both write a new file at `path`, streamed, and throw Error(kInvalidArgument) for rows that do not exist,
// Error(kResourceExhausted) when the disk is full, Error(kCancelled); the caller removes the file.

/// Records of layouts coded, grouped and decoupled: order[position] is the row.
void write_cluster_vectors(const std::string& path, const VectorRows& rows, std::span<const std::uint32_t> order,
                           WorkMonitor* monitor);

struct Postings {
  std::span<const std::uint32_t> members;    // rows, posting after posting
  std::span<const std::uint64_t> offsets;    // into members; one per posting, and the end
  std::span<const std::uint32_t> positions;  // of each row
  std::uint32_t align = 1;                   // each posting starts at a multiple of it, in bytes
};

/// Records of layout replicated. Returns the byte offset of each posting, and the end.
std::vector<std::uint64_t> write_cluster_postings(const std::string& path, const VectorRows& rows,
                                                  const Postings& postings, WorkMonitor* monitor);

}  // namespace tiervec::cluster_index

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <tiervec/core/codes/code.h>
#include <tiervec/core/dtype.h>
#include <tiervec/core/huge_buffer.h>
#include <tiervec/core/parallel.h>

namespace tiervec::cluster_index {

/// Bytes of the blocks of `count` rows; the last block is padded with zero rows.
std::size_t code_blocks_bytes(const codes::Code& code, std::uint64_t count) noexcept;

/// Rows of encode() arranged for scans.
HugeBuffer arrange_blocks(const codes::Code& code, const std::uint8_t* rows, std::uint32_t count);

/// The vectors of a cluster index to be coded. Arrays are borrowed.
struct ClusteredVectors {
  const std::byte* data = nullptr;  // rows x dim
  std::uint32_t rows = 0;
  Dtype dtype = Dtype::kFloat32;
  std::span<const std::uint32_t> order;            // row at each position
  std::span<const std::uint32_t> cluster_offsets;  // first position of each cluster, and the end
};

/// Codes every vector relative to what its cluster's centroid code stands for, and writes the blocks
/// (code_blocks_bytes). Throws Error(kInvalidArgument) when the parts do not fit together.
void encode_clusters(const ClusteredVectors& vectors, const codes::Code& centroid_code,
                     const std::uint8_t* centroid_rows, const codes::Code& code, std::uint8_t* blocks, unsigned threads,
                     WorkMonitor* monitor);

}  // namespace tiervec::cluster_index

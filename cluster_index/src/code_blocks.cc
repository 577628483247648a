#include <tiervec/cluster_index/code_blocks.h>

#include <algorithm>
#include <string>
#include <vector>

#include <tiervec/core/vector_kernels.h>

namespace tiervec::cluster_index {

std::size_t code_blocks_bytes(const codes::Code& code, std::uint64_t count) noexcept {
  return (count + codes::kBlockRows - 1) / codes::kBlockRows * code.block_bytes();
}

HugeBuffer arrange_blocks(const codes::Code& code, const std::uint8_t* rows, std::uint32_t count) {
  HugeBuffer blocks(std::max<std::size_t>(1, code_blocks_bytes(code, count)));
  std::vector<std::uint8_t> block_rows(std::size_t{codes::kBlockRows} * code.row_bytes());
  for (std::uint32_t first = 0; first < count; first += codes::kBlockRows) {
    const std::uint32_t present = std::min(codes::kBlockRows, count - first);
    std::fill(block_rows.begin(), block_rows.end(), std::uint8_t{0});
    std::copy_n(rows + std::size_t{first} * code.row_bytes(), std::size_t{present} * code.row_bytes(),
                block_rows.begin());
    code.arrange_block(block_rows.data(), blocks.as<std::uint8_t>() + first / codes::kBlockRows * code.block_bytes());
  }
  return blocks;
}

namespace {

void check(const ClusteredVectors& vectors, const codes::Code& centroid_code, const codes::Code& code) {
  const auto& offsets = vectors.cluster_offsets;
  const bool fits =
      centroid_code.dim() == code.dim() && !offsets.empty() && offsets.front() == 0 &&
      offsets.back() == vectors.order.size() && std::is_sorted(offsets.begin(), offsets.end()) &&
      std::all_of(vectors.order.begin(), vectors.order.end(), [&](std::uint32_t row) { return row < vectors.rows; });
  if (!fits) {
    throw Error(ErrorCode::kInvalidArgument, "clusters to encode: codes, order and cluster_offsets do not fit " +
                                                 std::to_string(vectors.rows) + " vectors");
  }
}

}  // namespace

// A worker takes whole blocks of positions, so that no two write the same one.
void encode_clusters(const ClusteredVectors& vectors, const codes::Code& centroid_code,
                     const std::uint8_t* centroid_rows, const codes::Code& code, std::uint8_t* blocks, unsigned threads,
                     WorkMonitor* monitor) {
  constexpr std::uint32_t kPositions = 16 * codes::kBlockRows;
  check(vectors, centroid_code, code);
  const std::size_t dim = code.dim();
  const std::size_t vector_bytes = dim * element_bytes(vectors.dtype);
  const auto& offsets = vectors.cluster_offsets;
  const std::size_t count = vectors.order.size();
  if (monitor != nullptr) monitor->total = count;
  parallel_blocks(count, kPositions, threads, monitor, [&](std::size_t begin, std::size_t end, unsigned) {
    std::vector<std::uint8_t> rows(std::size_t{kPositions} * code.row_bytes());
    std::vector<float> widened(kPositions * dim);
    std::vector<float> origin(dim);
    for (std::size_t position = begin; position < end;) {
      // The last cluster that starts here or before: empty ones before it hold nothing.
      const auto next = std::upper_bound(offsets.begin(), offsets.end(), static_cast<std::uint32_t>(position));
      const auto cluster = static_cast<std::size_t>(next - offsets.begin()) - 1;
      const std::size_t stop = std::min<std::size_t>(end, *next);
      const float offset = centroid_code.decode(centroid_rows + cluster * centroid_code.row_bytes(), origin.data());
      for (std::size_t i = position; i < stop; ++i) {
        widen(vectors.dtype, vectors.data + vectors.order[i] * vector_bytes, dim,
              widened.data() + (i - position) * dim);
      }
      // The scan is given the estimate of the centroid's row, so what that adds to the distance is taken off here.
      code.encode_residuals(widened.data(), origin.data(), -offset, stop - position,
                            rows.data() + (position - begin) * code.row_bytes());
      position = stop;
    }
    for (std::size_t first = begin; first < end; first += codes::kBlockRows) {
      code.arrange_block(rows.data() + (first - begin) * code.row_bytes(),
                         blocks + first / codes::kBlockRows * code.block_bytes());
    }
  });
}

}  // namespace tiervec::cluster_index

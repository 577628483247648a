#include <tiervec/core/codes/code.h>

#include <algorithm>
#include <cstring>

namespace tiervec::codes {

void Code::encode_residuals(const float* vectors, const float* /*origin*/, float /*origin_offset*/, std::size_t count,
                            std::uint8_t* rows) const {
  encode(vectors, count, rows);
}

void Code::arrange_block(const std::uint8_t* rows, std::uint8_t* block) const noexcept {
  std::memcpy(block, rows, block_bytes());
}

void Code::scan(const std::byte* state, const ScanList& list, ScanHits& hits) const noexcept {
  float distances[kBlockRows];
  for (std::uint32_t i = 0; i < list.count; ++i) {
    const ScanBlock& block = list.chosen[i];
    block_distances(state, list.blocks + block.block * block_bytes(), kBlockRows, distances);
    for (std::uint32_t row = 0; row < kBlockRows; ++row) {
      hits.distances[hits.count] = distances[row];
      hits.rows[hits.count] = block.block * kBlockRows + row;
      hits.count += (block.rows >> row & 1) != 0 && distances[row] < hits.bound ? 1U : 0U;
    }
  }
}

}  // namespace tiervec::codes
